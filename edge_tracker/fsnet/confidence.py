"""How likely the box is the target's: the score of the classifier and the colours, by logistic regression.

The weights are fitted on footage with known absences that nothing of the classifier was trained on
(scripts/calibrate_fsnet.py). Those of a pre-trained classifier stand beside its layers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

LEAST, MOST = -4.0, 8.0  # of a score: what has learned for long says -40 to other things than the target, and 15 to it


class Confidence(NamedTuple):
    """Weights of the evidence. The defaults are those of a classifier that begins at random."""

    score: float = 0.37
    colour: float = 2.9
    constant: float = -0.85

    def probability(self, score: float, colour: float) -> float:
        """score: of the classifier, above 0 for a target. colour: `Colours.likeness`."""
        value = self.score * limited(score) + self.colour * colour + self.constant
        return 1 / (1 + math.exp(-min(max(value, -30.0), 30.0)))


def limited(score: float) -> float:
    """The part of a score that is evidence."""
    return min(max(score, LEAST), MOST)
