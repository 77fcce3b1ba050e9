"""Clips harder than `edge_tracker.video.synthetic`, made for what a tracker must cope with. Same poses, same pixels.

A textured ellipse over a textured ground. A `Pose` says where it is, how it is turned, how far its pattern has become
another one, and what light, blur and look-alike there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, turned

WIDTH, HEIGHT = 320, 240
SKIN_PX = 96  # side of the pattern of an ellipse
RED, GREEN = (60, 80, 190), (70, 190, 90)  # BGR


@dataclass(frozen=True)
class Pose:
    """One frame. Pixels; x and y are the target's centre."""

    x: float
    y: float
    w: float = 44.0
    h: float = 44.0
    turn: float = 0.0  # radians
    morph: float = 0.0  # 0: the pattern of frame 1, 1: another one of the same colours
    light: float = 1.0  # factor on all pixels
    blur_px: float = 0.0  # standard deviation of a blur of the whole frame
    shown: bool = True
    twin: tuple[float, float] | None = None  # centre of a look-alike with the target's own pattern
    twin_colour: tuple[int, int, int] | None = None  # its mean colour, where that is another

    @property
    def box(self) -> Box:
        """The box around the turned ellipse."""
        return turned((self.x - self.w / 2, self.y - self.h / 2, self.w, self.h), self.turn)


@dataclass(frozen=True)
class ActedClip:
    """Rendered poses."""

    poses: tuple[Pose, ...]
    images: list[NDArray[np.uint8]] = field(repr=False)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(frames, 4), shown or not."""
        return np.array([pose.box for pose in self.poses])

    @property
    def first_box(self) -> Box:
        return self.poses[0].box


def act(poses: Iterable[Pose], seed: int = 3) -> ActedClip:
    """Render a frame for each pose."""
    random = np.random.default_rng(seed)
    ground = blotches(random, (HEIGHT, WIDTH), 20, (110, 120, 115), 50)
    pattern, other = (blotches(random, (SKIN_PX, SKIN_PX), 16, (0, 0, 0), 110) for _ in range(2))
    made = tuple(poses)
    return ActedClip(made, [_render(ground, pattern, other, pose, seed, k) for k, pose in enumerate(made)])


def _render(
    ground: NDArray[np.float32],
    pattern: NDArray[np.float32],
    other: NDArray[np.float32],
    pose: Pose,
    seed: int,
    index: int,
) -> NDArray[np.uint8]:
    image = ground.copy()
    red, green = np.array(RED, np.float32), np.array(pose.twin_colour or RED, np.float32)
    if pose.twin is not None:
        _paste(image, pattern + green, *pose.twin, pose.w, pose.h, 0.0)
    if pose.shown:
        skin = (1 - pose.morph) * pattern + pose.morph * other + red
        _paste(image, skin, pose.x, pose.y, pose.w, pose.h, pose.turn)
    image *= pose.light
    if pose.blur_px > 0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), pose.blur_px), np.float32)
    image += np.random.default_rng([seed, index]).normal(0, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def blotches(
    random: np.random.Generator, shape: tuple[int, int], cell_px: int, colour: tuple[int, int, int], contrast: int
) -> NDArray[np.float32]:
    """Smooth random spots of about `cell_px` around a mean colour: (*shape, 3)."""
    height, width = shape
    coarse = random.normal(0, contrast / 2, (height // cell_px + 2, width // cell_px + 2, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32) + np.array(
        colour, np.float32
    )


def _paste(
    image: NDArray[np.float32], skin: NDArray[np.float32], x: float, y: float, w: float, h: float, turn: float
) -> None:
    """Draw the pattern as an ellipse of sides w and h around (x, y), turned."""
    c, s, middle = math.cos(turn), math.sin(turn), (SKIN_PX - 1) / 2
    matrix = np.array([[c, -s], [s, c]]) @ np.diag([w / SKIN_PX, h / SKIN_PX])
    matrix = np.column_stack([matrix, np.array([x, y]) - 0.5 - matrix @ (middle, middle)])
    rows, columns = np.mgrid[:SKIN_PX, :SKIN_PX] - middle
    inside = np.clip(SKIN_PX / 2 - np.hypot(rows, columns) + 0.5, 0, 1).astype(np.float32)
    size = image.shape[1::-1]
    share = cv2.warpAffine(inside, matrix, size)[..., None]
    image += share * (cv2.warpAffine(skin, matrix, size, borderMode=cv2.BORDER_REPLICATE) - image)
