"""The region of interest (ROI): a square window around the target, and the way between image and feature grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre


@dataclass(frozen=True)
class Window:
    """A square of whole image pixels, possibly reaching beyond the image."""

    x: int
    y: int
    side: int

    def to_grid(
        self, boxes: NDArray[np.float64], grid: int, crop_side: int, grid_offset_px: float = 0.0
    ) -> NDArray[np.float64]:
        """Boxes (..., 4) in image pixels -> the same boxes in cells of a `grid` x `grid` map of this window.

        The grid lies plainly over the crop of `crop_side` px, moved right and down by `grid_offset_px` crop pixels.
        """
        shift = grid_offset_px * grid / crop_side
        origin = np.array([self.x, self.y, 0.0, 0.0])
        return (boxes - origin) * (grid / self.side) - np.array([shift, shift, 0.0, 0.0])


def window_around(box: Box, scale: float) -> Window:
    """The square window of side `scale` x the diagonal of `box`, centred on it, in whole pixels, at least 2 px."""
    cx, cy = centre(box)
    side = max(2, round(scale * math.hypot(box[2], box[3])))
    return Window(round(cx - side / 2), round(cy - side / 2), side)


def crop(image: NDArray[np.uint8], window: Window, side: int) -> NDArray[np.uint8]:
    """Cut `window` from `image` (H, W, 3) and scale it to (side, side, 3).

    What lies beyond the image is filled with the mean colour of what lies inside, so that no edge appears that
    features would answer to. The window is whole pixels, so nothing but the one scaling touches the picture.
    """
    height, width = image.shape[:2]
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.side, width), min(window.y + window.side, height)
    visible = image[top : max(bottom, top), left : max(right, left)]
    # Linear interpolation skips pixels when it shrinks by more than two; area averaging does not.
    method = cv2.INTER_AREA if window.side > 2 * side else cv2.INTER_LINEAR
    if visible.shape[:2] == (window.side, window.side):
        return cv2.resize(visible, (side, side), interpolation=method).view(np.ndarray)
    if visible.size == 0:
        return np.full((side, side, 3), 127, np.uint8)
    # Only the visible part is scaled: a window around a box as large as the frame would need gigabytes.
    k = side / window.side
    x0, y0 = round((left - window.x) * k), round((top - window.y) * k)
    x1, y1 = max(round((right - window.x) * k), x0 + 1), max(round((bottom - window.y) * k), y0 + 1)
    x0, y0 = min(x0, side - 1), min(y0, side - 1)
    patch = cv2.resize(visible, (x1 - x0, y1 - y0), interpolation=method)
    patch = patch[: side - y0, : side - x0]
    below, right_of = side - y0 - patch.shape[0], side - x0 - patch.shape[1]
    mean = cv2.mean(patch)
    return cv2.copyMakeBorder(patch, y0, below, x0, right_of, cv2.BORDER_CONSTANT, value=mean).view(np.ndarray)
