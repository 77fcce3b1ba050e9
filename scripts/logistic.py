"""Logistic regression, for probabilities that are calibrated on few numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PENALTY = 1e-3  # on the squared weights: what is fitted stays finite where the classes part cleanly
STEPS = 50


def fit_logistic(
    evidence: NDArray[np.float64], right: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of the columns of evidence (n, k), and a constant: (k + 1,), by Newton's method.

    right (n,): 1 or 0. weight (n,): how much each row counts.
    """
    x = np.column_stack([evidence, np.ones(len(evidence))])
    share = weight / weight.sum()
    found = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ found, -30, 30)))
        gradient = x.T @ (share * (p - right)) + PENALTY * found
        curvature = (x.T * (share * p * (1 - p))) @ x + PENALTY * np.eye(len(found))
        found -= np.linalg.solve(curvature, gradient)
    return found
