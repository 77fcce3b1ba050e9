"""The state machine: numbers in, states out. Each rule by a table of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_tracker.closed_form.belief import STEADY, Belief
from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.track import TrackState

T, U, L = TrackState.TRACKED, TrackState.UNCERTAIN, TrackState.LOST
# Not averaged: the newest frame is all that counts, so that a table can be read.
SHARP = BeliefSettings(
    rate=1.0,
    uncertain_below=0.6,
    lost_below=0.5,
    lost_height=0.5,
    known_above=0.35,
    denied_below=-0.1,
    lost_after=3,
    trail_height=0.15,
    found_above=0.6,
)


def followed(frames: list[tuple[float, float, float]], settings: BeliefSettings = SHARP) -> list[TrackState]:
    """States after frames of (probability, height, match)."""
    belief = Belief(settings)
    return [belief.follow(*frame) for frame in frames]


def times(count: int, probability: float, height: float = 0.2, match: float = 0.0) -> list[tuple[float, float, float]]:
    return [(probability, height, match)] * count


def test_frame_1_is_believed() -> None:
    belief = Belief(SHARP)
    assert (belief.state, belief.confidence) == (T, 1.0)
    assert belief.steady
    assert belief.believed
    assert not belief.doubtful


@pytest.mark.parametrize(("probability", "state"), [(1.0, T), (0.6, T), (0.599, U), (0.5, U), (0.499, U), (0.0, U)])
def test_one_frame_is_tracked_or_uncertain_but_never_lost(probability: float, state: TrackState) -> None:
    assert followed(times(1, probability)) == [state]


@pytest.mark.parametrize(("lost_after", "states"), [(1, [L, L]), (2, [U, L]), (3, [U, U, L, L]), (5, [U] * 4 + [L])])
def test_lost_is_said_after_so_many_low_frames(lost_after: int, states: list[TrackState]) -> None:
    assert followed(times(len(states), 0.1), replace(SHARP, lost_after=lost_after)) == states


@pytest.mark.parametrize(
    ("probabilities", "states"),
    [
        ([0.1, 0.1, 0.9, 0.1, 0.1], [U, U, T, U, L]),  # a better frame takes one back, not all
        ([0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1], [U, U, T, T, U, U, L]),
        ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1], [T, T, T, U, U, L]),  # many good frames are no credit
        ([0.55] * 6, [U] * 6),  # doubted, but not low
        ([0.1, 0.55, 0.1, 0.55, 0.1, 0.1], [U, U, U, U, U, U]),
        ([0.1, 0.1, 0.1, 0.55], [U, U, L, U]),
    ],
)
def test_low_frames_less_better_ones_are_counted(probabilities: list[float], states: list[TrackState]) -> None:
    assert followed([(p, 0.2, 0.0) for p in probabilities]) == states


@pytest.mark.parametrize(
    ("height", "match", "lost", "why"),
    [
        (0.2, 0.0, True, "neither answered nor known"),
        (0.5, 0.0, False, "answered"),
        (0.499, 0.0, True, "not answered by a hair"),
        (0.9, -0.1, False, "answered, and not denied by a hair"),
        (0.9, -0.11, True, "answered, but denied"),
        (0.25, 0.36, False, "known, and answered a little"),
        (0.25, 0.35, True, "not known by a hair"),
        (0.249, 0.9, True, "known, but hardly answered"),
        (0.1, 1.0, True, "known, but not answered"),
        (0.4, 0.9, False, "known"),
        (0.4, 0.0, True, "answered too little, and not known"),
    ],
)
def test_a_low_confidence_is_lost_unless_the_target_is_answered_or_known(
    height: float, match: float, lost: bool, why: str
) -> None:
    states = followed(times(6, 0.1, height, match))
    assert (L in states) == lost, why
    assert states[:2] == [U, U]


def test_a_high_confidence_is_tracked_whatever_else_is_said() -> None:
    assert followed(times(9, 0.9, 0.0, -1.0)) == [T] * 9


def test_confidence_and_height_are_averages_over_a_few_frames() -> None:
    belief = Belief(replace(SHARP, rate=0.5))
    expected = 1.0
    for probability in (0.0, 0.0, 1.0, 0.3):
        belief.follow(probability, 1.0, 0.0)
        expected += 0.5 * (probability - expected)
        assert belief.confidence == pytest.approx(expected)
    # One frame without an answer does not undo many with one; several do.
    settings = replace(SHARP, rate=0.5, lost_after=1)
    assert followed([(0.0, 1.0, 0.0)] * 3 + [(0.0, 0.1, 0.0)] * 2, settings) == [U, U, U, U, L]


@pytest.mark.parametrize(
    ("confidence", "steady", "believed", "doubtful"),
    [
        (STEADY, True, True, False),
        (STEADY - 0.01, False, True, False),
        (0.6, False, False, False),
        (0.59, False, False, True),
    ],
)
def test_what_follows_from_the_confidence(confidence: float, steady: bool, believed: bool, doubtful: bool) -> None:
    belief = Belief(SHARP)
    belief.follow(confidence, 1.0, 0.0)
    assert (belief.steady, belief.believed, belief.doubtful) == (steady, believed, doubtful)


@pytest.mark.parametrize(("probability", "trusted"), [(0.6, True), (0.59, False)])
def test_a_good_frame_of_a_tracked_target_is_remembered(probability: float, trusted: bool) -> None:
    belief = Belief(SHARP)
    belief.follow(0.9, 1.0, 0.0)
    assert belief.trusts(probability) is trusted
    belief.follow(0.1, 1.0, 0.0)
    assert not belief.trusts(1.0)  # the state is UNCERTAIN


@pytest.mark.parametrize(("height", "answers"), [(0.15, True), (0.149, False), (-1.0, False)])
def test_the_trail_is_kept_down_to_its_height(height: float, answers: bool) -> None:
    assert Belief(SHARP).answers(height) is answers


def lost(settings: BeliefSettings = SHARP) -> Belief:
    belief = Belief(settings)
    while belief.state is not L:
        belief.follow(0.0, 0.0, -1.0)
    return belief


@pytest.mark.parametrize(
    ("found_above", "probabilities", "states"),
    [
        (0.6, [0.6], [T]),
        (0.6, [0.59], [L]),
        (0.9, [0.8, 0.89, 0.9], [L, L, T]),
        (0.0, [0.5, 0.51], [L, T]),  # however low that is set: what is followed must be likely
    ],
)
def test_a_search_ends_at_its_confidence(
    found_above: float, probabilities: list[float], states: list[TrackState]
) -> None:
    belief = lost(replace(SHARP, found_above=found_above))
    assert [belief.seek(p) for p in probabilities] == states


@pytest.mark.parametrize(("rate", "frames"), [(1.0, 1), (0.7, 2), (0.3, 3)])
def test_one_good_look_ends_no_search_unless_all_weight_lies_on_it(rate: float, frames: int) -> None:
    belief = lost(replace(SHARP, rate=rate))
    states = [belief.seek(0.8) for _ in range(6)]
    assert states.index(T) + 1 == frames


def test_a_bad_look_delays_the_end_of_a_search() -> None:
    belief = lost(replace(SHARP, rate=0.7))
    assert [belief.seek(p) for p in (0.8, 0.1, 0.8, 0.8)] == [L, L, T, T]


def test_after_a_search_the_count_begins_anew() -> None:
    belief = lost()
    assert belief.seek(0.9) is T
    assert [belief.follow(0.1, 0.0, 0.0) for _ in range(3)] == [U, U, L]


def test_after_a_search_the_height_of_before_is_forgotten() -> None:
    settings = replace(SHARP, rate=0.5, lost_after=1, found_above=0.1)
    belief = lost(settings)
    assert belief.seek(1.0) is T
    assert belief.follow(0.0, 0.2, 0.0) is U  # a mean height of .6, not of .1


@pytest.mark.parametrize(("match", "denied"), [(-0.11, True), (-0.1, False), (0.0, False), (1.0, False)])
def test_the_refiner_denies_below_its_limit(match: float, denied: bool) -> None:
    assert Belief(SHARP).denied(match) is denied


def test_starting_again_forgets_all() -> None:
    belief = lost()
    belief.start()
    assert (belief.state, belief.confidence) == (T, 1.0)
    assert [belief.follow(0.1, 0.0, 0.0) for _ in range(3)] == [U, U, L]
