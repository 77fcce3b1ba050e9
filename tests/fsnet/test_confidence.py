"""How far a box is believed."""

from __future__ import annotations

import pytest

from edge_tracker.fsnet.confidence import LEAST, MOST, Confidence, Weights

BELIEVED = Confidence(following=Weights(0.4, 3.0, -1.0), seeking=Weights(0.3, 4.0, -2.0))


def test_a_higher_score_and_the_targets_colours_are_believed_more() -> None:
    assert BELIEVED.probability(3.0, 0.5) > BELIEVED.probability(1.0, 0.5) > BELIEVED.probability(1.0, 0.1)
    assert BELIEVED.probability(0.0, 0.0) == pytest.approx(0.2689, abs=1e-4)


def test_beyond_its_limits_a_score_says_no_more() -> None:
    """Colours can still speak against 40, which a classifier that has learned for long says, and for -40."""
    assert BELIEVED.probability(40.0, 0.5) == BELIEVED.probability(MOST, 0.5)
    assert BELIEVED.probability(-40.0, 0.5) == BELIEVED.probability(LEAST, 0.5)


def test_a_place_elsewhere_is_judged_by_weights_of_its_own() -> None:
    assert BELIEVED.probability(0.0, 0.5, seeking=True) == pytest.approx(0.5)
    assert BELIEVED.probability(0.0, 0.5) == pytest.approx(0.6225, abs=1e-4)
    plain = Confidence()
    assert plain.probability(MOST, 0.3) > 0.8 > plain.probability(MOST, 0.2, seeking=True)
