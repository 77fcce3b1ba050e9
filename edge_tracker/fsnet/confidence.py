"""How likely the box is the target's: the score of the classifier and the colours, by logistic regression.

The weights are fitted on footage with known absences that nothing of the classifier was trained on
(scripts/calibrate_fsnet.py) and stand beside the pre-trained layers.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Confidence(NamedTuple):
    """Weights of the evidence. The defaults are those of a classifier that begins at random."""

    score: float = 0.37
    colour: float = 2.9
    constant: float = -0.85

    def probability(self, score: float, colour: float) -> float:
        """score: of the classifier, above 0 for a target. colour: `Colours.likeness`."""
        value = self.score * score + self.colour * colour + self.constant
        return 1 / (1 + math.exp(-min(max(value, -30.0), 30.0)))
