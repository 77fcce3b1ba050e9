"""Scenes of real sequences and of details of photographs, from which the refinement network learns; and what all scenes
are made with. Scenes of objects whose silhouettes are known: mask_scenes.py.

A scene is the same target in several views, its box known in each, rendered as the tracker sees a target (the ROI
scaled to the crop's side):
    sequences  frames of real sequences, shifted, zoomed and stretched a little, some of them turning over
    details    any rectangle of a photograph, seen from nearer and farther
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, turned
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.evaluation.task import Task
from edge_tracker.roi import affine
from edge_tracker.video.images import read_image

Image = NDArray[np.uint8]

PHOTO_SIDE_PX = 240  # longer side of photographs and objects
VIEWS = 4  # of a detail: the first, and the others in a slow walk
FRAMES = 60  # of a sequence, at most
CHANGING = 0.4  # share of the objects that turn over, away and about; of the sequences that turn
SMALLEST_SIDE_PX = 14  # of an object's box in the crop
SIZE_SPREAD, PLACE_SPREAD = 0.13, 0.05  # of a target in its crop: of log size, of the crop's side


class View(NamedTuple):
    """A crop (side, side, 3) BGR and the target's box in its pixels."""

    patch: Image
    box: Box
    others: tuple[Box, ...] = ()  # of others of its kind that are to be seen, and are plainly not it


class CutOut(NamedTuple):
    """An object: its picture (h, w, 3) BGR, and where in it it is, (h, w), 0 to 255."""

    image: Image
    mask: Image

    def mirrored(self) -> CutOut:
        return CutOut(np.ascontiguousarray(self.image[:, ::-1]), np.ascontiguousarray(self.mask[:, ::-1]))


class Light(NamedTuple):
    """How a picture is lit."""

    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0

    def drifted(self, random: np.random.Generator, share: float) -> Light:
        gain, gamma = np.exp(random.normal(0, share * np.array([0.22, 0.14])))
        return Light(self.gain * gain, self.offset + random.normal(0, 10 * share), self.gamma * gamma)

    def on(self, image: Image) -> Image:
        lit = (image / np.float32(255)) ** self.gamma * (255 * self.gain) + self.offset
        return lit.clip(0, 255).astype(np.uint8)


class Camera(NamedTuple):
    """What a whole scene is taken with."""

    blur: float  # factor by which the crop was too small for its side
    grey: bool
    noise: float  # grey levels

    @classmethod
    def any(cls, random: np.random.Generator) -> Camera:
        return cls(
            float(random.uniform(1.5, 5)) if random.random() < 0.4 else 1.0,
            bool(random.random() < 0.25),
            float(random.uniform(1, 7)) if random.random() < 0.3 else 0.0,
        )

    def takes(self, random: np.random.Generator, image: Image) -> Image:
        side = len(image)
        if self.blur > 1:
            small = max(8, round(side / self.blur))
            image = _resized(image, small, cv2.INTER_AREA)
        if self.grey:
            image = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
        if self.noise:  # of the sensor: before the picture is enlarged, the same in all channels of a grey one
            shape = (*image.shape[:2], 1 if self.grey else 3)
            image = (image + random.normal(0, self.noise, shape)).clip(0, 255).astype(np.uint8)
        return image if self.blur <= 1 else _resized(image, side, cv2.INTER_LINEAR)


def as_photo(image: Image) -> Image:
    """An image at PHOTO_SIDE_PX."""
    k = PHOTO_SIDE_PX / max(image.shape[:2])
    return np.asarray(cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA), np.uint8)


def detail_scene(random: np.random.Generator, photo: Image, side: int) -> list[View]:
    """A rectangle of a photograph in VIEWS views of it."""
    height, width = photo.shape[:2]
    edge, aspect = random.uniform(0.2, 0.5) * min(height, width), random.normal(0, 0.4)
    w, h = edge * np.exp(aspect / 2), edge * np.exp(-aspect / 2)
    centre = np.array([width, height]) * random.uniform(0.3, 0.7, 2)
    mirrored = random.random() < 0.5
    camera, light = Camera.any(random), Light()
    turn, stretch = 0.0, random.normal(0, 0.05)
    views = []
    for view in range(VIEWS):
        share = 1.0 if view <= 1 else 0.4
        turn += random.normal(0, 0.1 * share)
        stretch += random.normal(0, 0.08 * share)
        light = light.drifted(random, share)
        k = _size(random, side, 0.16) / edge
        at = side / 2 + random.normal(0, PLACE_SPREAD * side, 2)
        picture = _warped(photo, affine(turn, k, stretch, at, centre, mirrored), side, cv2.mean(photo))
        box = turned((at[0] - w * k / 2, at[1] - h * k / 2, w * k, h * k), 0.0, stretch)  # it hardly turns
        views.append(View(camera.takes(random, _degraded(random, light.on(picture))), box))
    return views


def sequence_scenes(random: np.random.Generator, task: Task, scenes: int, side: int) -> Iterator[list[View]]:
    """A sequence's frames in their order, `scenes` times: first as they are, then mirrored, turned and lit anew."""
    frames = [
        (read_image(path), box)
        for path, box in zip(task.frames, task.boxes, strict=True)
        if np.isfinite(box).all() and min(box[2:]) >= 4
    ]
    step = max(1, len(frames) // FRAMES)
    for scene in range(scenes):
        plain = scene == 0
        mirrored = scene % 2 == 1
        stretch = 0.0 if plain else random.normal(0, 0.12)
        camera = Camera(1.0, False, 0.0) if plain else Camera.any(random)
        light = Light() if plain else Light().drifted(random, 1.0)
        turning = not plain and random.random() < CHANGING
        turn = random.integers(4) * np.pi / 2 if turning else 0.0
        views = []
        for image, box in frames[scene % step :: step]:
            turn += random.normal(0, 0.12) if turning else 0.0
            change = stretch + random.normal(0, 0.04)
            patch, on_patch, _ = _framed(random, image, box, mirrored, turn, change, side)
            if not plain:
                patch = light.on(patch)
                patch = _degraded(random, patch) if random.random() < 0.15 else patch
            views.append(View(camera.takes(random, patch), on_patch))
        yield views


def _framed(
    random: np.random.Generator,
    image: Image,
    box: NDArray[np.float64],
    mirrored: bool,
    turn: float,
    stretch: float,
    side: int,
) -> View:
    """The surroundings of `box` as the tracker would crop them around a box that is a little off. Turned, the box is
    that of the ellipse in `box`."""
    x, y, w, h = box.tolist()
    k = _size(random, side) / (w * h) ** 0.5
    centre, at = np.array([x + w / 2, y + h / 2]), side / 2 + random.normal(0, PLACE_SPREAD * side, 2)
    reach = 1.7 * max(w, h)
    top, left = (max(0, int(v - reach)) for v in (centre[1], centre[0]))
    around = image[top : int(centre[1] + reach), left : int(centre[0] + reach)]
    warp, source = affine(turn, k, stretch, at, centre, mirrored), image
    if k < 0.5:  # linear interpolation skips pixels
        small = max(k * 1.5, 1e-2)
        source = np.asarray(cv2.resize(image, None, fx=small, fy=small, interpolation=cv2.INTER_AREA), np.uint8)
        warp[:, :2] /= small
    patch = _warped(source, warp, side, cv2.mean(around))
    return View(patch, turned((at[0] - w * k / 2, at[1] - h * k / 2, w * k, h * k), turn, stretch))


def _size(random: np.random.Generator, side: int, spread: float = SIZE_SPREAD) -> float:
    """Square root of a target's area in a crop, about what the tracker's ROI makes of it."""
    return float(side / ClosedFormConfig().roi_scale * np.exp(random.normal(0, spread)))


def _warped(image: Image, matrix: NDArray[np.float32], side: int, around: Sequence[float] | None = None) -> Image:
    """(side, side, 3); beyond the image its mirror image, or the colour `around`."""
    border = cv2.BORDER_REFLECT if around is None else cv2.BORDER_CONSTANT
    return np.asarray(
        cv2.warpAffine(image, matrix, (side, side), borderMode=border, borderValue=around or (0,)), np.uint8
    )


def _placed(
    item: CutOut,
    meant: Image,
    turn: float,
    stretch: float,
    size: float,
    at: NDArray[np.float64],
    tilt: NDArray[np.float64] | float,
    bend: NDArray[np.float32] | None,
    side: int,
) -> tuple[Image, Image, Image]:
    """The object's picture and mask, and the mask `meant`, in a crop: tilted by (2,), which is how much nearer its
    right and lower ends are than its middle, and bent by (n, n, 2) shifts in shares of it."""
    height, width = item.mask.shape
    k = size / (height * width) ** 0.5
    c, s = np.cos(turn), np.sin(turn)
    back = np.linalg.inv(np.array([[c, -s], [s, c]]) @ np.diag([k * np.exp(stretch / 2), k * np.exp(-stretch / 2)]))
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    dx, dy = columns - at[0], rows - at[1]
    tilt_x, tilt_y = np.broadcast_to(tilt, 2) / size
    nearer = (1 + tilt_x * dx + tilt_y * dy).clip(0.4, None)
    dx, dy = dx / nearer, dy / nearer
    maps = [(back[i, 0] * dx + back[i, 1] * dy + (width, height)[i] / 2).astype(np.float32) for i in (0, 1)]
    if bend is not None:
        shifts = cv2.resize(bend, (side, side), interpolation=cv2.INTER_CUBIC) * np.float32(size / k)
        maps = [maps[i] + shifts[..., i] for i in (0, 1)]
    image = cv2.remap(item.image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    masks = [
        cv2.remap(m, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) for m in (item.mask, meant)
    ]
    return np.asarray(image, np.uint8), np.asarray(masks[0], np.uint8), np.asarray(masks[1], np.uint8)


def _part(random: np.random.Generator, mask: Image) -> Image:
    """A slice of an object, across or along; all of it where that would be too little."""
    axis = int(random.random() < 0.4)
    first, last = np.sort(random.uniform(0, 1, 2))
    if last - first < 0.35:
        first, last = max(0, last - 0.4), min(1, first + 0.45)
    length = mask.shape[axis]
    part = mask.copy()
    lines = np.arange(length)
    outside = (lines < int(first * length)) | (lines >= int(last * length))
    part[(slice(None),) * axis + (outside,)] = 0
    return part if np.count_nonzero(part) >= 0.15 * np.count_nonzero(mask) else mask


def _paste(picture: Image, layer: Image, mask: Image) -> Image:
    share = np.asarray(cv2.GaussianBlur(mask, (3, 3), 0), np.float32)[..., None] / 255
    return (picture * (1 - share) + layer * share).astype(np.uint8)


def _occluded(random: np.random.Generator, picture: Image, box: tuple[int, int, int, int], photo: Image) -> Image:
    """A bar of another photograph over some of the box."""
    x, y, w, h = box
    thin, long = random.uniform(0.15, 0.5), random.uniform(0.6, 1.5)
    across, along = (thin, long) if random.random() < 0.5 else (long, thin)
    bar_w, bar_h = max(4, int(w * across)), max(4, int(h * along))
    left = max(0, int(x + random.uniform(-0.2, 1) * w - bar_w / 2))
    top = max(0, int(y + random.uniform(-0.2, 1) * h - bar_h / 2))
    area = slice(top, top + bar_h), slice(left, left + bar_w)
    covered = picture.copy()
    covered[area] = _resized(photo, len(picture), cv2.INTER_LINEAR)[area]
    return covered


def _degraded(random: np.random.Generator, picture: Image) -> Image:
    """Out of focus, moved, or noisy; mostly none of it."""
    kind = random.random()
    if kind < 0.15:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.6, 2.2)), np.uint8)
    elif kind < 0.3:
        length = int(random.integers(3, 10))
        line = np.zeros((length, length), np.float32)
        line[length // 2] = 1
        middle = (length - 1) / 2
        matrix = cv2.getRotationMatrix2D((middle, middle), random.uniform(0, 180), 1)
        line = np.asarray(cv2.warpAffine(line, matrix, (length, length)), np.float32)
        picture = np.asarray(cv2.filter2D(picture, -1, line / max(float(line.sum()), 1e-6)), np.uint8)
    elif kind < 0.4:
        noise = random.normal(0, random.uniform(2, 10), picture.shape)
        picture = (picture + noise).clip(0, 255).astype(np.uint8)
    return picture


def _shifted(layer: Image, shift: NDArray[np.float32]) -> Image:
    return np.asarray(cv2.warpAffine(layer, shift, layer.shape[1::-1]), np.uint8)


def _resized(image: Image, side: int, method: int) -> Image:
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), np.uint8)
