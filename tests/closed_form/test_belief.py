"""The state machine: numbers in, states out. Each rule by a table of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_tracker.closed_form.belief import LOST_BELOW, Belief
from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.track import TrackState

T, U, L = TrackState.TRACKED, TrackState.UNCERTAIN, TrackState.LOST
# The newest frame is all that counts in the confidence, so that a table can be read.
SHARP = BeliefSettings(
    rate=1.0,
    tracked_above=0.8,
    uncertain_below=0.6,
    leaving=0.05,
    returning=0.05,
    lost_after=3,
    trail_height=0.15,
    found_above=0.6,
    proving=0,
)


def followed(probabilities: list[float], settings: BeliefSettings = SHARP) -> list[TrackState]:
    """States after frames of these probabilities."""
    belief = Belief(settings)
    return [belief.follow(probability) for probability in probabilities]


def test_frame_1_is_believed() -> None:
    belief = Belief(SHARP)
    assert (belief.state, belief.confidence) == (T, 1.0)
    assert belief.believed
    assert not belief.doubtful


@pytest.mark.parametrize(("probability", "state"), [(1.0, T), (0.8, T), (0.799, U), (0.5, U), (0.1, U), (0.0, U)])
def test_one_frame_is_tracked_or_uncertain_but_never_lost(probability: float, state: TrackState) -> None:
    assert followed([probability]) == [state]


@pytest.mark.parametrize("lost_after", [1, 2, 3, 5, 12])
def test_lost_is_said_after_so_many_frames_of_the_plainest_kind_and_not_before(lost_after: int) -> None:
    states = followed([0.0] * (lost_after + 3), replace(SHARP, lost_after=lost_after, leaving=1e-6, returning=1e-6))
    assert states == [U] * (lost_after - 1) + [L] * 4


def test_frames_that_are_less_plain_take_longer() -> None:
    when = []
    for probability in (0.0, 0.15, 0.2):
        states = followed([probability] * 40)
        assert L in states
        when.append(states.index(L))
    assert when[0] < when[1] <= when[2]
    assert L not in followed([0.5] * 40)  # says nothing, and what left comes back as often


@pytest.mark.parametrize(
    ("probabilities", "lost"),
    [
        ([0.05, 0.05, 0.05, 0.05], True),
        ([0.05, 0.95] * 8, False),  # as much speaks for it as against it
        ([0.2, 0.2, 0.99, 0.2, 0.2, 0.99], False),  # a good frame takes back what bad ones said
        ([0.99] * 50 + [0.0] * 3, True),  # many good frames are no more credit than a few
    ],
)
def test_bad_frames_and_good_ones_are_weighed(probabilities: list[float], lost: bool) -> None:
    assert (L in followed(probabilities)) == lost


def by_bayes(probabilities: list[float], settings: BeliefSettings) -> list[float]:
    """The forward algorithm of two states, as a textbook has it: belief that the box is on the target."""
    on, beliefs = 1 - settings.leaving, []
    for probability in probabilities:
        before = on * (1 - settings.leaving) + (1 - on) * settings.returning
        joint = before * probability, (1 - before) * (1 - probability)
        on = joint[0] / sum(joint)
        beliefs.append(on)
    return beliefs


@pytest.mark.parametrize("leaving", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("returning", [0.01, 0.05, 0.2])
def test_lost_is_the_forward_algorithm_where_nothing_is_plain(leaving: float, returning: float) -> None:
    settings = replace(SHARP, leaving=leaving, returning=returning, lost_after=1)
    probabilities = [0.6, 0.4, 0.3, 0.35, 0.4, 0.3, 0.2, 0.3, 0.25, 0.3, 0.2, 0.3, 0.2, 0.25]
    beliefs = by_bayes(probabilities, settings)
    assert [state is L for state in followed(probabilities, settings)] == [belief < LOST_BELOW for belief in beliefs]


def test_confidence_is_an_average_over_a_few_frames() -> None:
    belief = Belief(replace(SHARP, rate=0.5))
    expected = 1.0
    for probability in (0.0, 0.0, 1.0, 0.3):
        belief.follow(probability)
        expected += 0.5 * (probability - expected)
        assert belief.confidence == pytest.approx(expected)


@pytest.mark.parametrize(
    ("confidence", "believed", "doubtful"),
    [(0.61, True, False), (0.6, False, False), (0.59, False, True)],
)
def test_what_follows_from_the_confidence(confidence: float, believed: bool, doubtful: bool) -> None:
    belief = Belief(SHARP)
    belief.follow(confidence)
    assert (belief.believed, belief.doubtful) == (believed, doubtful)


@pytest.mark.parametrize(("probability", "trusted"), [(0.6, True), (0.59, False)])
def test_a_good_frame_of_a_tracked_target_is_remembered(probability: float, trusted: bool) -> None:
    belief = Belief(SHARP)
    belief.follow(0.9)
    assert belief.trusts(probability) is trusted
    belief.follow(0.1)
    assert not belief.trusts(1.0)  # it is in doubt


@pytest.mark.parametrize(("height", "answers"), [(0.15, True), (0.149, False), (-1.0, False)])
def test_the_trail_is_kept_down_to_its_height(height: float, answers: bool) -> None:
    assert lost().answers(height) is answers
    assert Belief(SHARP).answers(height)  # in doubt whatever it is


def lost(settings: BeliefSettings = SHARP) -> Belief:
    belief = Belief(settings)
    while belief.state is not L:
        belief.follow(0.0)
    return belief


@pytest.mark.parametrize(
    ("found_above", "probabilities", "states"),
    [
        (0.6, [0.9], [T]),
        (0.6, [0.6], [U]),
        (0.6, [0.59], [L]),
        (0.9, [0.8, 0.89, 0.9], [L, L, T]),
        (0.0, [0.5, 0.51], [L, U]),  # however low that is set: what is followed must be likely
    ],
)
def test_a_search_ends_at_its_confidence(
    found_above: float, probabilities: list[float], states: list[TrackState]
) -> None:
    belief = lost(replace(SHARP, found_above=found_above))
    assert [belief.seek(p, True) for p in probabilities] == states


@pytest.mark.parametrize(("rate", "frames"), [(1.0, 1), (0.7, 2), (0.3, 3)])
def test_one_good_look_ends_no_search_unless_all_weight_lies_on_it(rate: float, frames: int) -> None:
    belief = lost(replace(SHARP, rate=rate))
    assert [belief.seek(0.8, True) is L for _ in range(frames)] == [True] * (frames - 1) + [False]


def test_a_bad_look_delays_the_end_of_a_search() -> None:
    belief = lost(replace(SHARP, rate=0.7))
    assert [belief.seek(p, True) is L for p in (0.8, 0.1, 0.8)] == [True, True, False]


def test_a_search_begins_in_doubt_and_ends_with_it() -> None:
    belief = Belief(replace(SHARP, search_after=3))
    assert [(belief.follow(p), belief.searching) for p in (0.5, 0.5, 0.9, 0.5, 0.5)][-1] == (U, False)
    assert (belief.follow(0.5), belief.searching) == (U, True)
    assert (belief.seek(0.55, True), belief.searching) == (U, True)
    assert (belief.seek(0.9, True), belief.searching) == (T, False)
    assert (belief.follow(0.5), belief.searching) == (U, False)  # the doubt is counted anew


def test_what_was_found_is_still_searched_for_for_some_frames() -> None:
    belief = lost(replace(SHARP, proving=3))
    for _ in range(2):  # the second time as long as the first
        seen = [(belief.seek(p, True), belief.searching) for p in (0.9, 0.7, 0.9, 0.9)]
        assert seen == [(T, True), (U, True), (T, True), (T, False)]
        while belief.follow(0.0) is not L:
            pass


def test_what_was_followed_before_needs_no_proof() -> None:
    belief = lost(replace(SHARP, proving=3))
    assert (belief.seek(0.9, False), belief.searching) == (T, False)


def test_what_was_found_and_is_likely_no_more_is_proved_anew() -> None:
    """It is not TRACKED while nothing speaks for it, and LOST once that has lasted."""
    belief = lost(replace(SHARP, proving=2))
    assert belief.seek(0.9, True) is T
    states = [belief.seek(0.0, True) for _ in range(5)]
    assert (states[0], states[-1]) == (U, L)
    assert T not in states
    assert [(belief.seek(0.9, True), belief.searching) for _ in range(3)] == [(T, True), (T, True), (T, False)]


def test_what_is_searched_for_in_doubt_is_lost_once_nothing_speaks_for_it() -> None:
    belief = Belief(replace(SHARP, search_after=1))
    assert belief.follow(0.5) is U
    states = [belief.seek(0.0, True) for _ in range(4)]
    assert states[0] is U
    assert states[-1] is L
    assert belief.searching


def test_after_a_search_the_belief_is_that_of_frame_1() -> None:
    belief = lost()
    assert belief.seek(0.9, True) is T
    assert [belief.follow(0.0) for _ in range(3)] == followed([0.0] * 3)


def test_starting_again_forgets_all() -> None:
    belief = lost()
    belief.start()
    assert (belief.state, belief.confidence) == (T, 1.0)
    assert [belief.follow(0.0) for _ in range(3)] == followed([0.0] * 3)
