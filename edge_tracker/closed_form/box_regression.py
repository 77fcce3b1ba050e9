"""Box regression: how a box must be moved and scaled to fit the target, read from the features under it.

A ridge regression learned in frame 1 from jittered boxes whose error is known, and from the boxes believed later
(R-CNN, Girshick et al. 2014, has the targets; the dual form and the ring of samples are ours).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.roi import sample

BINS = 6  # samples along each side
CONTEXT = 1.6  # of the box that is sampled
SPREAD_SIZE, SPREAD_PLACE = 0.15, 0.1  # of the jittered boxes: of log size, and of the sides
SHAPE = 0.5  # how much width and height change together
PER_VIEW, LATER, CAPACITY = 48, 8, 240  # samples of each view of frame 1, of each later frame, in all


class BoxRegressor:
    """Predicts (dx / w, dy / h, dlog w, dlog h) of a box in cells."""

    def __init__(self, views: list[tuple[NDArray[np.float32], Box]], ridge: float, random: np.random.Generator) -> None:
        """Learn frame 1 from views of it: features (n, n, D) and the target's box in cells."""
        self.ridge = ridge
        self._random = random
        pairs = [self._jittered(features, box, PER_VIEW) for features, box in views]
        samples, errors = np.concatenate([s for s, _ in pairs]), np.concatenate([e for _, e in pairs])
        self._mean = samples.mean(axis=0)
        dimensions = samples.shape[1]
        self._samples = np.zeros((CAPACITY, dimensions), np.float32)
        self._errors = np.zeros((CAPACITY, 4), np.float32)
        self._kernel = np.zeros((CAPACITY, CAPACITY), np.float32)
        self._count = 0
        self._weights = np.zeros((dimensions, 4), np.float32)
        self._kept = self._next = len(samples)  # those of frame 1 stay
        self._put(np.arange(self._kept), samples, errors)

    def predict(self, features: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
        """(dx / w, dy / h, dlog w, dlog h) that bring `box` onto the target."""
        return ((sample(features, np.array([box]), BINS, CONTEXT) - self._mean) @ self._weights)[0]

    def learn(self, features: NDArray[np.float32], box: Box) -> None:
        """Add LATER jittered boxes around `box`; those of frame 1 stay, of the others the oldest make room."""
        samples, errors = self._jittered(features, box, LATER)
        self._put(np.arange(self._next, self._next + LATER), samples, errors)
        self._next += LATER
        if self._next + LATER > CAPACITY:
            self._next = self._kept

    def _jittered(
        self, features: NDArray[np.float32], box: Box, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Samples (count, dimensions) of boxes around `box`, and how far off each is (count, 4)."""
        x, y, w, h = box
        jitter = self._random.normal(size=(count, 4))
        dx, dy = SPREAD_PLACE * jitter[:, 0], SPREAD_PLACE * jitter[:, 1]
        lw = SPREAD_SIZE * jitter[:, 2]
        lh = SHAPE * lw + math.sqrt(1 - SHAPE**2) * SPREAD_SIZE * jitter[:, 3]
        ws, hs = w * np.exp(lw), h * np.exp(lh)
        boxes = np.stack([x + w / 2 + dx * w - ws / 2, y + h / 2 + dy * h - hs / 2, ws, hs], axis=1)
        errors = np.stack([-dx * np.exp(-lw), -dy * np.exp(-lh), -lw, -lh], axis=1)
        return sample(features, boxes, BINS, CONTEXT), errors.astype(np.float32)

    def _put(self, places: NDArray[np.intp], samples: NDArray[np.float32], errors: NDArray[np.float32]) -> None:
        """Store samples, update the kernel matrix, solve the dual ridge."""
        self._samples[places], self._errors[places] = samples - self._mean, errors
        self._count = n = max(self._count, int(places[-1]) + 1)
        rows = self._samples[places] @ self._samples[:n].T
        self._kernel[places, :n] = rows
        self._kernel[:n, places] = rows.T
        kernel = self._kernel[:n, :n]
        # The smallest float keeps a target without any texture solvable.
        damping = np.float32(self.ridge * float(np.trace(kernel)) / n + 1e-6)
        dual = np.linalg.solve(kernel + damping * np.eye(n, dtype=np.float32), self._errors[:n])
        self._weights = self._samples[:n].T @ dual
