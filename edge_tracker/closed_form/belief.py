"""What is believed: numbers in, state out. No images, no boxes.

While following, every frame brings the probability that the box is right, fitted on footage with known absences. The
belief that the box is on the target is that of a hidden Markov model with two states (the forward algorithm, Rabiner
1989, III.A): between frames the box may leave the target or come upon it again, and a frame's probability is taken as
a likelihood ratio, though no single frame is believed without limit. The target is searched for while it is LOST, and
from a few frames of doubt on, for what is UNCERTAIN may have slid off the target, which is to be seen elsewhere. While
searching, every frame brings the probability of the best place that was looked at.
"""

from __future__ import annotations

import math

from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.track import TrackState

LIKELY = 0.5  # probability from which a place is followed while searching
LOST_BELOW = 0.02  # belief that the box is on the target, below which it is LOST


class Belief:
    """The state machine of one target."""

    def __init__(self, settings: BeliefSettings) -> None:
        self._settings = settings
        self._surest = _log_odds(1 - settings.leaving)
        self._most = self._limit()
        self.start()

    def start(self) -> None:
        """Frame 1, in which the box is given."""
        self.confidence = 1.0  # probability that the box is right, averaged over a few frames
        self.state = TrackState.TRACKED
        self._belief = self._surest  # log odds that the box is on the target
        self.searching = False  # the target is looked for elsewhere, too
        self.proving = 0  # frames since it was found, while it is still searched for
        self._doubted = 0  # frames in a row in which the box was not believed

    @property
    def doubtful(self) -> bool:
        """The box is not believed at the moment."""
        return self.confidence < self._settings.uncertain_below

    @property
    def believed(self) -> bool:
        """The box may be learned from as the target's look."""
        return self.confidence > self._settings.uncertain_below

    def trusts(self, probability: float) -> bool:
        """One frame's probability is enough to remember its box as the last good one."""
        return not self.doubtful and probability >= self._settings.uncertain_below

    def likely(self, probability: float) -> bool:
        """While searching: a place of this probability is followed."""
        return probability > LIKELY

    def answers(self, height: float) -> bool:
        """While LOST: the last box is still followed at a response peak of this height. In doubt any will do."""
        return self.state is not TrackState.LOST or height >= self._settings.trail_height

    def follow(self, probability: float) -> TrackState:
        """Take in a frame while following. probability: that the box is right, 0 to 1."""
        self._weigh(probability)
        self._doubted = self._doubted + 1 if self.doubtful else 0
        self.state = TrackState.LOST if self._given_up else self._held
        self.searching = self._given_up or self._doubted >= self._settings.search_after
        return self.state

    def seek(self, probability: float, elsewhere: bool) -> TrackState:
        """Take in a frame while searching: `probability` of the best place looked at. What was believed for a while is
        found. elsewhere: it is not what was followed before; then the search goes on for some frames, for something
        else may be more like the target."""
        self._weigh(probability)
        if self.likely(probability) and self.confidence >= self._settings.found_above:
            self.proving += 1
            self.state = self._held
            self.searching = elsewhere and self.proving <= self._settings.proving
        elif self._given_up:
            self.proving, self.state = 0, TrackState.LOST
        elif self.proving:
            self.state = self._held
        if not self.searching:
            self._belief, self._doubted, self.proving = self._surest, 0, 0
        return self.state

    @property
    def _given_up(self) -> bool:
        return self._belief < _log_odds(LOST_BELOW)

    @property
    def _held(self) -> TrackState:
        tracked = self.confidence >= self._settings.tracked_above
        return TrackState.TRACKED if tracked else TrackState.UNCERTAIN

    def _weigh(self, probability: float) -> None:
        """Take a frame's probability into the confidence and the belief."""
        self.confidence += self._settings.rate * (probability - self.confidence)
        evidence = min(max(_log_odds(probability), -self._most), self._most)
        self._belief = min(self._predicted(self._belief) + evidence, self._surest)

    def _predicted(self, belief: float) -> float:
        """Log odds one frame later, before anything of it is seen."""
        on = 1 / (1 + math.exp(-belief))
        return _log_odds(on * (1 - self._settings.leaving) + (1 - on) * self._settings.returning)

    def _limit(self) -> float:
        """How much one frame may say, log odds: the least with which `lost_after` of the plainest frames make LOST."""
        low, high = 0.0, _log_odds(1.0)
        for _ in range(40):
            middle, belief = (low + high) / 2, self._surest
            for _ in range(self._settings.lost_after):
                belief = self._predicted(belief) - middle
            low, high = (low, middle) if belief < _log_odds(LOST_BELOW) else (middle, high)
        return high


def _log_odds(probability: float) -> float:
    """Of a probability, kept finite."""
    kept = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(kept / (1 - kept))
