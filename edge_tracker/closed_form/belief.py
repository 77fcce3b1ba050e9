"""What is believed: numbers in, state out. No images, no boxes.

While following, every frame brings the probability that the box is right, fitted on footage with known absences. The
belief that the box is on the target is that of a hidden Markov model with two states (the forward algorithm, Rabiner
1989, III.A): between frames the box may leave the target or come upon it again, and a frame's probability is taken as
a likelihood ratio. While LOST, every frame brings the probability of the best place that was looked at.
"""

from __future__ import annotations

from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.track import TrackState

STEADY = 0.8  # confidence below which the refiner is asked in every frame
LIKELY = 0.5  # probability from which a place is followed while LOST
LEAST = 1e-5  # no belief comes nearer to 0 or 1 than this: it could not be moved any more


class Belief:
    """The state machine of one target."""

    def __init__(self, settings: BeliefSettings) -> None:
        self._settings = settings
        self.start()

    def start(self) -> None:
        """Frame 1, in which the box is given."""
        self.confidence = 1.0  # probability that the box is right, averaged over a few frames
        self.state = TrackState.TRACKED
        self._belief = 1.0 - LEAST

    @property
    def steady(self) -> bool:
        """Nothing is in doubt."""
        return self.confidence >= STEADY

    @property
    def doubtful(self) -> bool:
        """The box is not believed at the moment."""
        return self.confidence < self._settings.uncertain_below

    @property
    def believed(self) -> bool:
        """The box may be learned from as the target's look."""
        return self.confidence > self._settings.uncertain_below

    def denied(self, match: float) -> bool:
        """The refiner says that the box does not lie on the target."""
        return match < self._settings.denied_below

    def trusts(self, probability: float) -> bool:
        """One frame's probability is enough to remember its box as the last good one."""
        return not self.doubtful and probability >= self._settings.uncertain_below

    def likely(self, probability: float) -> bool:
        """While LOST: a place of this probability is followed."""
        return probability > LIKELY

    def answers(self, height: float) -> bool:
        """While LOST: the last box is still followed at a response peak of this height."""
        return height >= self._settings.trail_height

    def follow(self, probability: float) -> TrackState:
        """Take in a frame while following. probability: that the box is right, 0 to 1."""
        s = self._settings
        self._average(probability)
        before = self._belief * (1 - s.leaving) + (1 - self._belief) * s.returning
        on, off = before * probability, (1 - before) * (1 - probability)
        self._belief = min(max(on / (on + off), LEAST), 1 - LEAST)
        if self._belief < s.lost_below:
            self.state = TrackState.LOST
        else:
            self.state = TrackState.TRACKED if self.confidence >= s.tracked_above else TrackState.UNCERTAIN
        return self.state

    def seek(self, probability: float) -> TrackState:
        """Take in a frame while LOST: `probability` of the best place looked at. It ends once that was believed
        for a while."""
        self._average(probability)
        if self.likely(probability) and self.confidence >= self._settings.found_above:
            self._belief = 1.0 - LEAST
            tracked = self.confidence >= self._settings.tracked_above
            self.state = TrackState.TRACKED if tracked else TrackState.UNCERTAIN
        return self.state

    def _average(self, probability: float) -> None:
        self.confidence += self._settings.rate * (probability - self.confidence)
