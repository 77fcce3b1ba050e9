"""Precision and success, as OTB defines them (Wu, Lim and Yang 2013) and the got10k toolkit computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import iou

CENTRE_ERRORS_PX = np.arange(51)  # thresholds of the precision plot
OVERLAPS = np.linspace(0, 1, 21)  # thresholds of the success plot
PRECISION_AT_PX = 20  # centre error of the precision score, the threshold of the OTB papers


@dataclass(frozen=True)
class Curves:
    """Share of frames, 0..1, with a centre error up to CENTRE_ERRORS_PX (51,), and with an IoU above OVERLAPS (21,)."""

    precision: NDArray[np.float64]
    success: NDArray[np.float64]

    @property
    def precision_score(self) -> float:
        """Precision at 20 px."""
        return float(self.precision[PRECISION_AT_PX])

    @property
    def success_score(self) -> float:
        """Area under the success plot: the mean over its thresholds."""
        return float(self.success.mean())


def curves(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> Curves:
    """Compare boxes (n, 4) with ground truth (n, 4). Rows whose ground truth is NaN do not count."""
    known = np.isfinite(truth).all(axis=1)
    predicted, truth = predicted[known], truth[known]
    difference = (predicted[:, :2] + predicted[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)
    errors = np.hypot(difference[:, 0], difference[:, 1])
    overlaps = iou(predicted, truth)
    return Curves(
        precision=(errors[:, None] <= CENTRE_ERRORS_PX).mean(axis=0),
        success=(overlaps[:, None] > OVERLAPS).mean(axis=0),
    )


def mean_curves(per_task: list[Curves]) -> Curves:
    """Mean over tasks. Each task has the same weight, however long."""
    return Curves(
        precision=np.mean([c.precision for c in per_task], axis=0),
        success=np.mean([c.success for c in per_task], axis=0),
    )
