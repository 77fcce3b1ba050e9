"""The confidence of FMST: how similar the box is to the target of frame 1. This is ours, not the paper's.

The paper's conf (Eq. 11) ranks the candidates of one frame, and its prediction map is scaled to [0, 1] in every frame,
with or without a target. Neither can tell that the target is gone. The mean feature of the box can (docs/results.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_tracker.track import TrackState

LIMIT = 3.0  # standard deviations; else a few channels that hardly vary in frame 1 would decide alone
UNCERTAIN_BELOW, LOST_BELOW = 0.5, 0.3  # confidence; chosen on the training sequences of docs/weight-network.md


class Appearance:
    """The target in frame 1: its mean feature, each channel in units of its standard deviation over that ROI."""

    def __init__(self, features: NDArray[np.float32], coverage: NDArray[np.float32]) -> None:
        """`features` (H, W, C), `coverage` (H, W): the share of each cell that the box covers."""
        flat = features.reshape(-1, features.shape[-1])
        self._mean = flat.mean(axis=0)
        self._deviation = flat.std(axis=0) + 1e-3
        self._target = self._describe(features, coverage)

    def similarity(self, features: NDArray[np.float32], coverage: NDArray[np.float32]) -> float:
        """Cosine between the target of frame 1 and the cells of `features` (H, W, C) in `coverage` (H, W): [-1, 1]."""
        return float(self._target @ self._describe(features, coverage))

    def _describe(self, features: NDArray[np.float32], coverage: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised mean feature of the covered cells, of unit length (or zero): (C,)."""
        mean = coverage.reshape(-1) @ features.reshape(-1, features.shape[-1]) / max(float(coverage.sum()), 1e-6)
        standard = np.minimum(np.maximum((mean - self._mean) / self._deviation, -LIMIT), LIMIT)
        return standard / max(math.sqrt(standard @ standard), 1e-12)


def state_of(confidence: float) -> TrackState:
    """The state for a confidence of 0 to 1."""
    if confidence < LOST_BELOW:
        return TrackState.LOST
    return TrackState.UNCERTAIN if confidence < UNCERTAIN_BELOW else TrackState.TRACKED
