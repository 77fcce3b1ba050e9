"""What is believed: numbers in, state out. No images, no boxes.

While following, every frame brings the probability that the box is right, the height of the response peak and the
refiner's match. While LOST, it brings the probability of the best place that was looked at.
"""

from __future__ import annotations

from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.track import TrackState

STEADY = 0.8  # confidence below which the refiner is asked in every frame


class Belief:
    """The state machine of one target."""

    def __init__(self, settings: BeliefSettings) -> None:
        self._settings = settings
        self.start()

    def start(self) -> None:
        """Frame 1, in which the box is given."""
        self.confidence = 1.0  # probability that the box is right, averaged over a few frames
        self.state = TrackState.TRACKED
        self._height = 1.0  # of the response peak, averaged likewise
        self._low = 0  # frames of low confidence, less those of a better one

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
        return self.state is TrackState.TRACKED and probability >= self._settings.uncertain_below

    def likely(self, probability: float) -> bool:
        """While LOST: a place of this probability is followed."""
        return probability > self._settings.lost_below

    def answers(self, height: float) -> bool:
        """While LOST: the last box is still followed at a response peak of this height."""
        return height >= self._settings.trail_height

    def follow(self, probability: float, height: float, match: float) -> TrackState:
        """Take in a frame while following.

        probability: that the box is right, 0 to 1. height: of the response peak. match: the refiner's, -1 to 1, 0 where
        there is none.
        """
        s = self._settings
        self._average(probability)
        self._height += s.rate * (height - self._height)
        # A target that has turned looks unlike frame 1, but the filter, which has turned with it, still answers, or the
        # refiner, which has learned what turns, still knows it where the filter answers a little.
        known = match > s.known_above and self._height >= s.lost_height / 2
        answered = self._height >= s.lost_height and not self.denied(match)
        low = self.confidence < s.lost_below and not known and not answered
        self._low = max(0, self._low + (1 if low else -1))
        if not self.doubtful:
            self.state = TrackState.TRACKED
        else:
            self.state = TrackState.UNCERTAIN if self._low < s.lost_after else TrackState.LOST
        return self.state

    def seek(self, probability: float) -> TrackState:
        """Take in a frame while LOST: `probability` of the best place looked at. TRACKED once it is found again."""
        self._average(probability)
        if self.likely(probability) and self.confidence >= self._settings.found_above:
            self._height, self._low, self.state = 1.0, 0, TrackState.TRACKED
        return self.state

    def _average(self, probability: float) -> None:
        self.confidence += self._settings.rate * (probability - self.confidence)
