"""How far a box is believed."""

from __future__ import annotations

import pytest

from edge_tracker.fsnet.confidence import LEAST, MOST, Confidence


def test_a_higher_score_and_the_targets_colours_are_believed_more() -> None:
    believed = Confidence(0.4, 3.0, -1.0)
    assert believed.probability(3.0, 0.5) > believed.probability(1.0, 0.5) > believed.probability(1.0, 0.1)
    assert believed.probability(0.0, 0.0) == pytest.approx(0.2689, abs=1e-4)


def test_beyond_its_limits_a_score_says_no_more() -> None:
    """Colours can still speak against 40, which a classifier that has learned for long says, and for -40."""
    believed = Confidence(0.4, 3.0, -1.0)
    assert believed.probability(40.0, 0.5) == believed.probability(MOST, 0.5)
    assert believed.probability(-40.0, 0.5) == believed.probability(LEAST, 0.5)
