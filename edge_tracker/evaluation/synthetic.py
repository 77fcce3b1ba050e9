"""A clip of our own making whose truth is known exactly: for the first run, for pictures in docs, and for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box


@dataclass(frozen=True)
class SyntheticClip:
    """A textured disc drifts and swells over a textured ground while a greyer one of the same size crosses its way.

    Iterating gives (image uint8 (height, width, 3) BGR, box of the target) per frame; the same settings give the
    same pixels.
    """

    frames: int = 120
    width: int = 320
    height: int = 240
    target_px: int = 44
    seed: int = 7

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], Box]]:
        random = np.random.default_rng(self.seed)
        ground = _texture(random, self.height, self.width, cell_px=24, colour=(110, 120, 115), contrast=60)
        target = _texture(random, 96, 96, cell_px=16, colour=(60, 90, 200), contrast=90)
        other = _texture(random, 96, 96, cell_px=16, colour=(120, 130, 120), contrast=90)
        for index in range(self.frames):
            t = index / 120  # one round in 120 frames
            image = ground.copy()
            other_x, other_y = self._place(0.9 - 0.8 * t, 0.5 + 0.1 * np.cos(6 * t))
            _paste(image, other, other_x, other_y, self.target_px)
            side = self.target_px * (1 + 0.35 * np.sin(2 * np.pi * t))
            x, y = self._place(0.5 + 0.32 * np.sin(2 * np.pi * t), 0.5 + 0.28 * np.sin(4 * np.pi * t))
            _paste(image, target, x, y, side)
            noise = random.normal(0, 3, image.shape)
            yield np.clip(image + noise, 0, 255).astype(np.uint8), (x - side / 2, y - side / 2, side, side)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return float(x * self.width), float(y * self.height)


def _texture(
    random: np.random.Generator, height: int, width: int, cell_px: int, colour: tuple[int, int, int], contrast: int
) -> NDArray[np.float32]:
    """Smooth random blotches of about `cell_px` around a mean colour (BGR): float32 (height, width, 3)."""
    coarse = random.normal(0, contrast / 2, (height // cell_px + 2, width // cell_px + 2, 3)).astype(np.float32)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(blotches + np.array(colour, np.float32), 0, 255)


def _paste(image: NDArray[np.float32], texture: NDArray[np.float32], x: float, y: float, side: float) -> None:
    """Draw `texture` as a disc of diameter `side` centred on (x, y), with sub-pixel position and soft edge."""
    k = side / texture.shape[0]
    matrix = np.array([[k, 0, x - side / 2], [0, k, y - side / 2]], np.float32)
    size = (image.shape[1], image.shape[0])
    ys, xs = np.mgrid[: size[1], : size[0]]
    alpha = np.clip(side / 2 - np.hypot(xs - x, ys - y) + 0.5, 0, 1).astype(np.float32)[..., None]
    image[:] = (1 - alpha) * image + alpha * cv2.warpAffine(texture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
