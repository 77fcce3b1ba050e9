"""Is it still the target? What one frame shows, turned into the probability that the box is right.

The height of the response peak alone is fooled by whatever the filter has learned meanwhile, so what is under the box
is compared with known views of the target, by colours and by the refinement network too; and, while the target is
sought, with what was seen *beside* it when it was surely there: that cannot be it. The weights of all these are fitted
on footage with known absences (scripts/calibrate.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.closed_form.colour import Colours
from edge_tracker.closed_form.gallery import Gallery
from edge_tracker.closed_form.view import View

OWN, OTHERS = 24, 32  # descriptions of the target, of which the first stays, and of what was beside it
MOST_MARGIN = 1.0  # more says no more

Describe = Callable[[View, Sequence[Box]], NDArray[np.float32]]  # boxes (crop pixels) -> unit vectors (m, D)


class Evidence(NamedTuple):
    """What speaks for a box."""

    height: float  # of the response peak
    likeness: float  # cosine to the most similar known view of the target: [-1, 1]
    colour: float  # `Colours.likeness`: (-5, 1)
    match: float  # what the refinement network says, see `Correction.match`: [-1, 1]
    margin: float  # likeness less that to what was seen beside the target: [-2, MOST_MARGIN]; counts while seeking


WEIGHTS = len(Evidence._fields) + 1  # one for each, and the constant


class Presence:
    """Compares with the target. Boxes are in crop pixels."""

    def __init__(self, view: View, box: Box, describe: Describe, weights: NDArray[np.float64]) -> None:
        """`box` in `view` is the target in frame 1. weights (2, WEIGHTS): of the evidence, and the constant, while
        following and while seeking."""
        self._describe = describe
        self._weights = weights.tolist()
        self.colours = Colours(view.patch, box)
        first = describe(view, [box])[0]
        self._own, self._others = Gallery(OWN, len(first)), Gallery(OTHERS, len(first))
        self._own.add(first, stays=True)
        self._last: tuple[NDArray[np.uint8], Box, NDArray[np.float32]] | None = None  # crop, box, description

    def evidence(self, view: View, box: Box, height: float, match: float, likeness: float | None = None) -> Evidence:
        """What speaks for a box at a response peak of this height and with this match of the refiner. likeness: where
        it is known; then the margin is not, and counts as none."""
        colour = self.colours.likeness(view.patch, box)
        if likeness is not None:
            return Evidence(height, likeness, colour, match, 0.0)
        described = self._described(view, box)
        likeness = float(self._own.likeness(described)[0])
        margin = min(likeness - float(self._others.likeness(described)[0]), MOST_MARGIN)
        return Evidence(height, likeness, colour, match, margin)

    def remember(self, view: View, box: Box) -> None:
        """What is under `box` is another view of the target."""
        self._own.add(self._described(view, box)[0])

    def _described(self, view: View, box: Box) -> NDArray[np.float32]:
        """(1, D): what is under `box`; that of the last box is kept, for it is often asked for twice."""
        if self._last is None or self._last[0] is not view.patch or self._last[1] != box:
            self._last = view.patch, box, self._describe(view, [box])
        return self._last[2]

    def beside(self, view: View, boxes: Sequence[Box]) -> None:
        """What is under these boxes was seen together with the target, and is not it."""
        for described in self._describe(view, boxes):
            self._others.add(described)

    def probability(self, evidence: Evidence, seeking: bool = False) -> float:
        """That the box is right (logistic regression)."""
        *weights, score = self._weights[int(seeking)]
        score += sum(w * e for w, e in zip(weights, evidence, strict=True))
        return 1 / (1 + math.exp(-min(max(score, -30.0), 30.0)))
