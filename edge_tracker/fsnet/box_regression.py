"""Bounding-box regression of the pooled features, learned in frame 1 alone (R-CNN, Girshick et al. 2014)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLAT = 0.05  # of the mean deviation: what varies less is not divided by less


def ridge_regression(
    rows: NDArray[np.float32], deltas: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (D, 4) and constants (4,) with which rows (n, D) answer deltas (n, 4), (dx/w, dy/h, dlog w, dlog h).

    Inputs are standardised; `ridge` is in units of the mean of the kernel's diagonal. Solved in the dual form, n < D.
    """
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    # The smallest float keeps maps without any texture solvable.
    deviation = np.maximum(deviation, FLAT * deviation.mean() + 1e-6)
    inputs = ((rows - mean) / deviation).astype(np.float64)
    level = deltas.mean(axis=0)
    kernel = inputs @ inputs.T
    n = len(kernel)
    kernel[np.diag_indices(n)] += ridge * np.trace(kernel) / n + 1e-9
    weights = inputs.T @ np.linalg.solve(kernel, deltas - level) / deviation[:, None]
    return weights.astype(np.float32), (level - mean @ weights).astype(np.float32)
