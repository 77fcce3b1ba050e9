"""How much the box still looks like the target of frame 1: the confidence of FMST. Ours, not the paper's.

The paper's conf (Eq. 11) ranks candidates of one frame, and its prediction map is scaled to [0, 1] in every frame,
target or not; neither can tell that the target is gone. The mean feature of the box can: measured on training
sequences, docs/results.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_tracker.track import TrackState

LIMIT = 3.0  # deviations; a few channels that are all but silent in frame 1 would else decide alone
UNCERTAIN_BELOW, LOST_BELOW = 0.5, 0.3


class Appearance:
    """The target as seen in frame 1: its mean feature, in units of the spread of each channel over that ROI."""

    def __init__(self, features: NDArray[np.float32], coverage: NDArray[np.float32]) -> None:
        """`features` (H, W, C), `coverage` (H, W): the share of each cell that the box covers."""
        flat = features.reshape(-1, features.shape[-1])
        self._mean = flat.mean(axis=0)
        self._deviation = flat.std(axis=0) + 1e-3
        self._target = self._describe(features, coverage)

    def similarity(self, features: NDArray[np.float32], coverage: NDArray[np.float32]) -> float:
        """Cosine between the target of frame 1 and what `coverage` (H, W) marks in `features` (H, W, C): [-1, 1]."""
        return float(self._target @ self._describe(features, coverage))

    def _describe(self, features: NDArray[np.float32], coverage: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised mean feature of the covered cells, of unit length (or zero): (C,)."""
        mean = coverage.reshape(-1) @ features.reshape(-1, features.shape[-1]) / max(float(coverage.sum()), 1e-6)
        standard = np.minimum(np.maximum((mean - self._mean) / self._deviation, -LIMIT), LIMIT)
        return standard / max(math.sqrt(standard @ standard), 1e-12)


def state_of(confidence: float) -> TrackState:
    """The state that goes with a confidence."""
    if confidence < LOST_BELOW:
        return TrackState.LOST
    return TrackState.UNCERTAIN if confidence < UNCERTAIN_BELOW else TrackState.TRACKED
