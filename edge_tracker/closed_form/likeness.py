"""Is it still the target? What one frame shows, turned into the probability that the box is right.

The height of the response peak alone is fooled by whatever the filter has learned meanwhile, so what is under the box
is compared with frame 1 too, by features, by colours and by the refinement network. The weights of the four are fitted
on footage with known absences (scripts/calibrate.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.closed_form.colour import Colours
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid
from edge_tracker.roi import sample

MOST_VIEWS = 16
PARTS = 3  # the box is described in so many parts along each side


class Evidence(NamedTuple):
    """What speaks for a box."""

    height: float  # of the response peak
    likeness: float  # cosine to the most similar known view of the target: [-1, 1]
    colour: float  # `Colours.likeness`: (-5, 1)
    match: float  # what the refinement network says, see `Correction.match`: [-1, 1]; 0 where there is none


WEIGHTS = len(Evidence._fields) + 1  # one for each, and the constant


class Presence:
    """Compares with the target of frame 1, by the coarse features in PARTS x PARTS parts of its box and by colours.

    Boxes are in crop pixels.
    """

    def __init__(self, view: View, box: Box, grid: Grid, weights: NDArray[np.float64]) -> None:
        """`box` in `view` is the target in frame 1. grid: of the coarse tap. weights (WEIGHTS,): of the evidence, and
        the constant."""
        self._grid = grid
        self._mean = view.coarse.reshape(-1, view.coarse.shape[-1]).mean(axis=0)
        self._weights = [float(w) for w in weights]
        self.colours = Colours(view.patch, box)
        first = self._describe(view, [box])[0]
        self._views = np.zeros((MOST_VIEWS, len(first)), np.float32)  # of the target; that of frame 1 stays
        self._views[0] = first
        self._count = 1

    def likeness(self, view: View, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Cosine between what is under each box and the most similar known view of the target: (m,), -1 to 1."""
        best: NDArray[np.float32] = (self._describe(view, boxes) @ self._views[: self._count].T).max(axis=1)
        return best

    def evidence(self, view: View, box: Box, height: float, match: float) -> Evidence:
        """What speaks for a box at a response peak of this height and with this match of the refiner."""
        likeness = float(self.likeness(view, [box])[0])
        return Evidence(height, likeness, self.colours.likeness(view.patch, box), match)

    def remember(self, view: View, box: Box) -> None:
        """Keep what is under `box` as another view of the target; the oldest but frame 1 makes room."""
        if self._count < MOST_VIEWS:
            self._count += 1
        else:
            self._views[1:-1] = self._views[2:]
        self._views[self._count - 1] = self._describe(view, [box])[0]

    def probability(self, evidence: Evidence) -> float:
        """That the box is right (logistic regression)."""
        *weights, score = self._weights
        score += sum(w * e for w, e in zip(weights, evidence, strict=True))
        return 1 / (1 + math.exp(-min(max(score, -30.0), 30.0)))

    def _describe(self, view: View, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Unit vectors: (m, PARTS PARTS D)."""
        samples = sample(view.coarse, np.array([self._grid.box(box) for box in boxes]), PARTS, 1.0)
        parts = (samples.reshape(len(boxes), -1, len(self._mean)) - self._mean).reshape(len(boxes), -1)
        parts /= np.maximum(np.sqrt(np.einsum("md,md->m", parts, parts)), np.float32(1e-12))[:, None]
        return parts
