"""The response map: the filter's answer on a fine grid over the crop, and where it peaks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre
from edge_tracker.grid import Grid, cubic, peak_of_parabola

PITCH_PX = 4  # crop pixels between two points of the response map


@lru_cache(maxsize=16)
def resampling(grid: Grid, points: int) -> NDArray[np.float32]:
    """(points, cells) cubic interpolation along one axis, point j lying at crop pixel PITCH_PX j."""
    return cubic((np.arange(points) * PITCH_PX - grid.offset_px) / grid.stride, grid.cells)


def motion_prior(points: int, x_px: float, y_px: float, sigma_px: float) -> NDArray[np.float32]:
    """(points, points) Gaussian around a place, crop pixels."""
    at = np.arange(points, dtype=np.float32) * PITCH_PX
    down, across = (np.exp(-0.5 * ((at - np.float32(middle)) / np.float32(sigma_px)) ** 2) for middle in (y_px, x_px))
    return np.outer(down, across)


class Peak(NamedTuple):
    """The highest point of a response map, between its points by a parabola."""

    x_px: float  # crop pixels
    y_px: float
    height: float  # of the response itself, without the prior

    def box(self, size: tuple[float, float]) -> Box:
        """A box of this size (w, h) around it, crop pixels."""
        return self.x_px - size[0] / 2, self.y_px - size[1] / 2, *size


def find_peak(response: NDArray[np.float32], prior: NDArray[np.float32]) -> Peak:
    """Find the peak of `response` x `prior`, (P, P) each."""
    weighted = response * prior
    row, column = divmod(int(weighted.argmax()), response.shape[1])
    x = peak_of_parabola(weighted[row], column) * PITCH_PX
    y = peak_of_parabola(weighted[:, column], row) * PITCH_PX
    return Peak(x, y, float(response[row, column]))


def other_peaks(response: NDArray[np.float32], least: float, box: Box, apart: float, most: int) -> list[Peak]:
    """Local maxima of the response (P, P) of height `least` or more whose place lies more than `apart` of the sides of
    `box` (crop pixels) from its centre, the highest first, at most `most`."""
    cx, cy = centre(box)
    reach = max(3, round(min(box[2:]) / PITCH_PX) // 2 * 2 + 1)
    highest = cv2.dilate(response, np.ones((reach, reach), np.uint8))
    rows, columns = np.nonzero((response >= highest) & (response >= least))
    x, y = columns * float(PITCH_PX), rows * float(PITCH_PX)
    far = np.hypot((x - cx) / box[2], (y - cy) / box[3]) > apart
    heights = response[rows, columns]
    order = np.flatnonzero(far)[np.argsort(-heights[far])][:most]
    return [Peak(float(x[i]), float(y[i]), float(heights[i])) for i in order]
