"""The cells of a feature map over the crop, and interpolation between them. NumPy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box


class Grid(NamedTuple):
    """Cell i is centred on crop pixel stride * i + offset."""

    cells: int  # along each side
    stride: int  # crop pixels
    offset_px: float

    @classmethod
    def over(cls, crop_px: int, stride: int, receptive_offset_px: float) -> Grid:
        """The cells of a tap over a crop of this side; see `backbones.base.Tap`."""
        return cls(crop_px // stride, stride, stride / 2 + receptive_offset_px)

    def cell(self, px: float) -> float:
        """Crop pixel -> cell, the centre of cell i being i."""
        return (px - self.offset_px) / self.stride

    def box(self, on_crop: Box) -> Box:
        """Box in crop pixels -> in cells."""
        x, y, w, h = on_crop
        return self.cell(x), self.cell(y), w / self.stride, h / self.stride


def bin_centres(bins: int, context: float) -> NDArray[np.float64]:
    """Where samples lie along a side, in sides from the box's centre: (bins,)."""
    return ((np.arange(bins) + 0.5) / bins - 0.5) * context


def cubic(position: NDArray[np.float64], source: int) -> NDArray[np.float32]:
    """Matrix (n, source) of cubic convolution at `position` (n,) among `source` cells (Keys 1981, a = -1/2); edge
    cells are repeated."""
    target = len(position)
    matrix = np.zeros((target, source), np.float32)
    first = np.floor(position).astype(int) - 1
    for tap in range(4):
        d = np.abs(position - first - tap)
        weight = np.where(d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2)
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, source - 1)), weight)
    return matrix


def peak_of_parabola(values: NDArray[np.floating], index: int) -> float:
    """Where the parabola through `values[index]` and its neighbours peaks; `index` itself at an end or a plateau."""
    if 0 < index < len(values) - 1:
        left, middle, right = (float(v) for v in values[index - 1 : index + 2])
        curvature = left - 2 * middle + right
        if curvature < 0:
            return index + min(max(0.5 * (left - right) / curvature, -0.5), 0.5)
    return float(index)
