"""How likely a box is the target's: the score of the classifier and the colours, by logistic regression.

The weights are fitted on footage with known absences that nothing of the classifier was trained on
(scripts/calibrate_fsnet.py). Those of a pre-trained classifier stand beside its layers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

LEAST, MOST = -4.0, 8.0  # of a score: what has learned for long says -40 to other things than the target, and 15 to it


class Weights(NamedTuple):
    """Of the evidence."""

    score: float
    colour: float
    constant: float


class Confidence(NamedTuple):
    """The defaults are those of a classifier that begins at random. A place elsewhere, which is the best of many, must
    be plainer than the box that is followed."""

    following: Weights = Weights(0.288, 3.976, -1.344)
    seeking: Weights = Weights(0.278, 4.149, -1.93)

    def probability(self, score: float, colour: float, seeking: bool = False) -> float:
        """score: of the classifier, above 0 for a target. colour: `Colours.likeness`."""
        weights = self.seeking if seeking else self.following
        value = weights.score * limited(score) + weights.colour * colour + weights.constant
        return 1 / (1 + math.exp(-min(max(value, -30.0), 30.0)))


def limited(score: float) -> float:
    """The part of a score that is evidence."""
    return min(max(score, LEAST), MOST)
