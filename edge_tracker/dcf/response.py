"""The response map: both filters' answers on one fine grid over the crop, and where it peaks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_tracker.dcf.scale import peak_of_parabola
from edge_tracker.fmst.prediction_map import cubic

PITCH_PX = 4  # crop pixels between two points of the response map


@lru_cache(maxsize=16)
def resampling(cells: int, stride: int, offset_px: float, points: int) -> NDArray[np.float32]:
    """(points, cells) cubic interpolation along one axis: cell i lies at stride * i + offset_px, point j at PITCH_PX j."""
    return cubic((np.arange(points) * PITCH_PX - offset_px) / stride, cells)


@lru_cache(maxsize=16)
def motion_prior(points: int, centre_px: tuple[float, float], sigma_px: float) -> NDArray[np.float32]:
    """(points, points) Gaussian around where the target was."""
    place = np.arange(points) * PITCH_PX
    lines = [np.exp(-0.5 * ((place - c) / sigma_px) ** 2) for c in (centre_px[1], centre_px[0])]
    return np.outer(*lines).astype(np.float32)


@dataclass(frozen=True)
class Peak:
    """The highest point of a response map."""

    place_px: tuple[float, float]  # (x, y), crop pixels, between the points by a parabola
    height: float  # of the response itself, without the prior
    psr: float  # height over mean and deviation of what lies outside the target (peak-to-sidelobe ratio)
    rival: float  # highest response outside the target


def find_peak(response: NDArray[np.float32], prior: NDArray[np.float32], target_px: float) -> Peak:
    """Find the peak of `response` x `prior`, (P, P) each; within `target_px` / 2 of it is the target, beyond is not."""
    weighted = response * prior
    row, column = divmod(int(weighted.argmax()), response.shape[1])
    x = peak_of_parabola(weighted[row], column) * PITCH_PX
    y = peak_of_parabola(weighted[:, column], row) * PITCH_PX
    height = float(response[row, column])
    half = max(2, int(target_px / 2 / PITCH_PX))
    top, left = max(row - half, 0), max(column - half, 0)
    around = response[top : row + half + 1, left : column + half + 1]
    outside = response.size - around.size
    if outside == 0:
        return Peak((x, y), height, 0.0, 0.0)
    mean = (float(response.sum()) - float(around.sum())) / outside
    square = (float(np.vdot(response, response)) - float((around * around).sum())) / outside
    deviation = max(square - mean * mean, 0.0) ** 0.5
    masked = response.copy()
    masked[top : row + half + 1, left : column + half + 1] = -1
    return Peak((x, y), height, (height - mean) / (deviation + 1e-6), float(masked.max()))
