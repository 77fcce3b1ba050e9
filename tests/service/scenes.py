"""Scenes of our own: discs on a textured ground, whose places are known."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box

SIZE = (320, 240)
DISC = 44

Image = NDArray[np.uint8]


def texture(seed: int, width: int, height: int, cell: int, colour: Sequence[int], contrast: float) -> Image:
    random = np.random.default_rng(seed)
    coarse = random.normal(0, contrast, (max(height // cell, 2), max(width // cell, 2), 3)) + colour
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


GROUND = texture(1, *SIZE, 24, (110, 120, 115), 30)
RED = texture(2, DISC, DISC, 8, (60, 70, 200), 60)
BLUE = texture(3, DISC, DISC, 8, (200, 90, 60), 60)


def put(image: Image, disc: Image, x: float, y: float) -> None:
    """Paste a disc with its centre at x, y; parts outside are cut off."""
    left, top = round(x - DISC / 2), round(y - DISC / 2)
    first, last = max(left, 0), min(left + DISC, image.shape[1])
    upper, lower = max(top, 0), min(top + DISC, image.shape[0])
    if first >= last or upper >= lower:
        return
    rows, columns = np.ogrid[:DISC, :DISC]
    inside = (rows - DISC / 2 + 0.5) ** 2 + (columns - DISC / 2 + 0.5) ** 2 <= (DISC / 2) ** 2
    part = slice(upper - top, lower - top), slice(first - left, last - left)
    image[upper:lower, first:last][inside[part]] = disc[part][inside[part]]


def scene(discs: Sequence[tuple[Image, float, float]], noise: int = 0) -> Image:
    """Discs on the ground, later ones in front; `noise` seeds a camera's."""
    image = GROUND.copy()
    for disc, x, y in discs:
        put(image, disc, x, y)
    grain = np.random.default_rng(noise).normal(0, 2, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def box_at(x: float, y: float) -> Box:
    return x - DISC / 2, y - DISC / 2, float(DISC), float(DISC)
