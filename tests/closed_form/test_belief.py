"""The state machine: numbers in, states out. Each rule by a table of its own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_tracker.closed_form.belief import LOST_BELOW, STEADY, Belief
from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.track import TrackState

T, U, L = TrackState.TRACKED, TrackState.UNCERTAIN, TrackState.LOST
# Not averaged: the newest frame is all that counts for the confidence, so that a table can be read.
SHARP = BeliefSettings(
    rate=1.0,
    tracked_above=0.75,
    uncertain_below=0.6,
    leaving=0.05,
    returning=0.05,
    lost_after=3,
    denied_below=-0.1,
    trail_height=0.15,
    found_above=0.6,
)


def followed(probabilities: list[float], settings: BeliefSettings = SHARP) -> list[TrackState]:
    """States after frames of these probabilities."""
    belief = Belief(settings)
    return [belief.follow(probability) for probability in probabilities]


def test_frame_1_is_believed() -> None:
    belief = Belief(SHARP)
    assert (belief.state, belief.confidence) == (T, 1.0)
    assert belief.steady
    assert belief.believed
    assert not belief.doubtful


@pytest.mark.parametrize(("probability", "state"), [(1.0, T), (0.75, T), (0.749, U), (0.5, U), (0.0, U)])
def test_one_frame_is_tracked_or_uncertain_but_never_lost(probability: float, state: TrackState) -> None:
    assert followed([probability]) == [state]


@pytest.mark.parametrize(
    ("lost_after", "states"), [(1, [L, L]), (2, [U, L]), (3, [U, U, L, L]), (5, [U] * 4 + [L]), (12, [U] * 11 + [L])]
)
def test_lost_is_said_after_so_many_of_the_plainest_frames(lost_after: int, states: list[TrackState]) -> None:
    assert followed([0.0] * len(states), replace(SHARP, lost_after=lost_after)) == states


def by_hand(probabilities: list[float], leaving: float, returning: float, limit: float) -> list[bool]:
    """Whether LOST, by the forward algorithm on the two states as it stands in the book, the evidence limited."""
    on, off = 1 - leaving, leaving
    lost = []
    for probability in probabilities:
        ratio = min(max(probability / (1 - probability), 1 / limit), limit)
        on, off = (on * (1 - leaving) + off * returning) * ratio, on * leaving + off * (1 - returning)
        on, off = on / (on + off), off / (on + off)
        if on > 1 - leaving:
            on, off = 1 - leaving, leaving
        lost.append(on < LOST_BELOW)
    return lost


@pytest.mark.parametrize(("leaving", "returning", "lost_after"), [(0.05, 0.05, 3), (0.1, 0.005, 2), (0.01, 0.1, 4)])
def test_the_belief_is_that_of_a_hidden_markov_model(leaving: float, returning: float, lost_after: int) -> None:
    settings = replace(SHARP, leaving=leaving, returning=returning, lost_after=lost_after)
    random = np.random.default_rng(lost_after)
    differs = 0
    for _ in range(200):
        probabilities = random.beta(0.5, 1.0, 14).clip(0.001, 0.999).tolist()
        belief = Belief(settings)
        states = [belief.follow(p) for p in probabilities]
        expected = by_hand(probabilities, leaving, returning, math.exp(belief._most))
        assert [state is L for state in states] == expected
        differs += any(expected) and not all(expected)
    assert differs > 50


@pytest.mark.parametrize(
    ("probabilities", "lost"),
    [
        ([0.0, 0.0, 0.9, 0.0, 0.0, 0.0], [U, U, T, U, U, L]),  # a better frame speaks against it, but not for ever
        ([0.9, 0.9, 0.9, 0.0, 0.0, 0.0], [T, T, T, U, U, L]),  # many good frames are no credit
        ([0.45] * 12, [U] * 12),  # what is doubted for long is not LOST
        ([0.15] * 4, [U] * 3 + [L]),  # less plain: later
        ([0.0, 0.0, 0.0, 0.9], [U, U, L, T]),
    ],
)
def test_frames_speak_for_and_against(probabilities: list[float], states: list[TrackState]) -> None:
    assert followed(probabilities) == states


def test_the_confidence_is_an_average_over_a_few_frames() -> None:
    belief = Belief(replace(SHARP, rate=0.5))
    expected = 1.0
    for probability in (0.0, 0.0, 1.0, 0.3):
        belief.follow(probability)
        expected += 0.5 * (probability - expected)
        assert belief.confidence == pytest.approx(expected)


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
    belief.follow(confidence)
    assert (belief.steady, belief.believed, belief.doubtful) == (steady, believed, doubtful)


@pytest.mark.parametrize(("probability", "trusted"), [(0.6, True), (0.59, False)])
def test_a_good_frame_of_a_tracked_target_is_remembered(probability: float, trusted: bool) -> None:
    belief = Belief(SHARP)
    belief.follow(0.9)
    assert belief.trusts(probability) is trusted
    belief.follow(0.1)
    assert not belief.trusts(1.0)  # in doubt


@pytest.mark.parametrize(("height", "answers"), [(0.15, True), (0.149, False), (-1.0, False)])
def test_the_trail_is_kept_down_to_its_height(height: float, answers: bool) -> None:
    assert Belief(SHARP).answers(height) is answers


def lost(settings: BeliefSettings = SHARP) -> Belief:
    belief = Belief(settings)
    while belief.state is not L:
        belief.follow(0.0)
    return belief


@pytest.mark.parametrize(
    ("found_above", "probabilities", "states"),
    [
        (0.6, [0.6], [U]),
        (0.6, [0.59], [L]),
        (0.6, [0.76], [T]),
        (0.9, [0.8, 0.89, 0.9], [L, L, T]),
        (0.0, [0.5, 0.51], [L, U]),  # however low that is set: what is followed must be likely
    ],
)
def test_a_search_ends_at_its_confidence(
    found_above: float, probabilities: list[float], states: list[TrackState]
) -> None:
    belief = lost(replace(SHARP, found_above=found_above))
    assert [belief.seek(p) for p in probabilities] == states


@pytest.mark.parametrize(("rate", "frames"), [(1.0, 1), (0.7, 2), (0.3, 4)])
def test_one_good_look_ends_no_search_unless_all_weight_lies_on_it(rate: float, frames: int) -> None:
    belief = lost(replace(SHARP, rate=rate))
    belief.confidence = 0.0
    states = [belief.seek(0.8) for _ in range(6)]
    assert next(i for i, state in enumerate(states) if state is not L) + 1 == frames


def test_a_bad_look_delays_the_end_of_a_search() -> None:
    belief = lost(replace(SHARP, rate=0.7))
    belief.confidence = 0.0
    assert [belief.seek(p) for p in (0.8, 0.1, 0.8, 0.8)] == [L, L, U, U]


def test_after_a_search_belief_begins_anew() -> None:
    belief = lost()
    assert belief.seek(0.9) is T
    assert [belief.follow(0.0) for _ in range(3)] == [U, U, L]


@pytest.mark.parametrize(("match", "denied"), [(-0.11, True), (-0.1, False), (0.0, False), (1.0, False)])
def test_the_refiner_denies_below_its_limit(match: float, denied: bool) -> None:
    assert Belief(SHARP).denied(match) is denied


def test_starting_again_forgets_all() -> None:
    belief = lost()
    belief.start()
    assert (belief.state, belief.confidence) == (T, 1.0)
    assert [belief.follow(0.0) for _ in range(3)] == [U, U, L]
