"""Views of frame 1, changed as targets change later: what is learned before there is anything to track."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre, turned
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.view import View
from edge_tracker.roi import Window, affine

SHIFT, ZOOM, BLUR_PX = 0.28, 1.08, 1.5  # of the ROI's side; factor; of every fourth view
TURN, STRETCH = 0.8, 0.4  # standard deviations: radians; log aspect
BOX_SHIFT, BOX_ZOOM = 0.15, 0.1  # standard deviations, for what corrects boxes: of the sides; of log size
_NORMAL = NormalDist()


def changed_views(
    optics: Optics, image: NDArray[np.uint8], box: Box, count: int, random: np.random.Generator
) -> Iterator[tuple[View, Box]]:
    """`count` views of the target, shifted, zoomed, turned, stretched and some blurred, each with its box in crop
    pixels: a target that turns over or bends later is then not wholly new to the filter."""
    for number, chances in enumerate(latin_hypercube(random, count, 5)):
        base = optics.window(box, ZOOM ** (2 * chances[2] - 1))
        dx, dy = (SHIFT * base.side * (2 * chances[:2] - 1)).round().astype(int).tolist()
        window = Window(base.x + dx, base.y + dy, base.side)
        turn, stretch = TURN * _NORMAL.inv_cdf(chances[3]), STRETCH * _NORMAL.inv_cdf(chances[4])
        patch, on_crop = _turned(optics, optics.crop(image, window), window, box, turn, stretch)
        if number % 4 == 3:
            patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), BLUR_PX), np.uint8)
        yield optics.see(window, patch), on_crop


def turned_views(optics: Optics, image: NDArray[np.uint8], box: Box, parts: int) -> Iterator[tuple[View, Box]]:
    """The target turned by 1, 2, ... `parts` - 1 of so many equal parts of a whole turn, each view with its box in crop
    pixels."""
    window = optics.window(box)
    patch = optics.crop(image, window)
    for part in range(1, parts):
        turned_patch, on_crop = _turned(optics, patch, window, box, 2 * math.pi * part / parts)
        yield optics.see(window, turned_patch), on_crop


def box_views(
    optics: Optics, image: NDArray[np.uint8], box: Box, count: int, random: np.random.Generator
) -> Iterator[tuple[View, Box]]:
    """`count` slightly shifted and zoomed views, each with the target's box in crop pixels, for what corrects boxes."""
    x, y, w, h = box
    for _ in range(count):
        dx, dy, zoom = (random.normal(size=3) * (BOX_SHIFT, BOX_SHIFT, BOX_ZOOM)).tolist()
        window = optics.window((x + dx * w, y + dy * h, w, h), math.exp(zoom))
        view = optics.see(window, optics.crop(image, window))
        yield view, view.on_crop(box)


def _turned(
    optics: Optics, patch: NDArray[np.uint8], window: Window, box: Box, turn: float, stretch: float = 0.0
) -> tuple[NDArray[np.uint8], Box]:
    """The crop `patch` of `window` turned about the target and stretched; the box (image pixels) in it, crop pixels."""
    k = optics.side / window.side
    on_crop = (box[0] - window.x) * k, (box[1] - window.y) * k, box[2] * k, box[3] * k
    middle = np.array(centre(on_crop)) - 0.5  # OpenCV counts from the middle of the first pixel
    matrix, size = affine(turn, 1.0, stretch, middle, middle), (optics.side, optics.side)
    picture = cv2.warpAffine(patch, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(picture, np.uint8), turned(on_crop, turn, stretch)


def latin_hypercube(random: np.random.Generator, count: int, dimensions: int) -> NDArray[np.float64]:
    """Random points (count, dimensions) between 0 and 1; in each dimension one lies in each of `count` equal parts, so
    that few of them cover all there is whatever the seed (McKay et al. 1979)."""
    parts = np.stack([random.permutation(count) for _ in range(dimensions)], axis=1)
    points: NDArray[np.float64] = (parts + random.uniform(0.01, 0.99, parts.shape)) / max(1, count)
    return points
