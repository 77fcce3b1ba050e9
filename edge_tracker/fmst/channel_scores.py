"""Channel scores (FMST paper, Eq. 1) and their average over time (Eq. 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def channel_scores(features: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eq. 1: s_c = sum(F_c o M). `features` (H, W, C), `target` (H, W) -> (C,)."""
    return target.reshape(-1) @ features.reshape(-1, features.shape[-1])


def average_scores(average: NDArray[np.float32], scores: NDArray[np.float32], eta: float) -> NDArray[np.float32]:
    """Eq. 6: the exponential moving average eta s_mean + (1 - eta) s. Both (C,) -> (C,)."""
    return (eta * average + (1 - eta) * scores).astype(np.float32)
