"""Prediction maps: where the target is according to the selected channels (FMST paper, Eq. 3, 4 and 13)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
from numpy.typing import NDArray

from edge_tracker.grid import cubic


def prediction_map(features: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eq. 4: the weighted sum of the channels. `features` (H, W, C), `weights` (C,) -> (H, W)."""
    height, width, channels = features.shape
    return (features.reshape(-1, channels) @ weights).reshape(height, width)


def normalise(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a map linearly to [0, 1]. A constant map, which carries no information, becomes 0."""
    low, high = values.min(), values.max()
    if not high > low:
        return np.zeros_like(values)
    return (values - low) / (high - low)


def subtract_negative(
    positive: NDArray[np.float32], negative: NDArray[np.float32], alpha: float
) -> NDArray[np.float32]:
    """Eq. 13: M_p - alpha M_n of two maps in [0, 1], (H, W) each. Negative values become 0 (section 2.2.4: the map
    "takes values of 0 or higher"), and the map is scaled to [0, 1] again.

    If the negative part were scaled too, everything else would rise above b, and boxes would grow.
    """
    difference: NDArray[np.float32] = np.maximum(positive - np.float32(alpha) * negative, 0)
    return difference / np.maximum(difference.max(), np.float32(1e-6))


def sum_maps(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Algorithm 1, line 12: the sum of the maps over types and layers, scaled to [0, 1] so that b keeps its meaning."""
    return normalise(reduce(np.add, maps))


def resample(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Resample a square map (n, n) to (side, side) by cubic convolution. The cells of both divide the crop evenly.

    A cell of the backbone is large, up to a third of a target. A smooth map places the target's edges better than
    steps do.
    """
    matrix = _resampling(values.shape[0], side)
    resampled: NDArray[np.float32] = matrix @ (values @ matrix.T)
    return resampled


@lru_cache(maxsize=64)
def _resampling(source: int, target: int) -> NDArray[np.float32]:
    return cubic((np.arange(target) + 0.5) * source / target - 0.5, source)
