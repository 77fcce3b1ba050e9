"""The confidence: 1 for the target itself, low for what is not it, and states by its thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker import Tracker, TrackState
from edge_tracker.fmst.confidence import LOST_BELOW, UNCERTAIN_BELOW, Appearance, state_of
from tests.conftest import Clip


def test_similarity_is_the_cosine_of_standardised_means() -> None:
    random = np.random.default_rng(0)
    first, later = random.normal(size=(2, 4, 4, 6)).astype(np.float32)
    inside = np.zeros((4, 4), np.float32)
    inside[1:3, 1:3] = 1
    flat = first.reshape(16, 6)
    mean, deviation = flat.mean(axis=0), flat.std(axis=0) + 1e-3
    a = (first[1:3, 1:3].reshape(4, 6).mean(axis=0) - mean) / deviation
    b = (later[1:3, 1:3].reshape(4, 6).mean(axis=0) - mean) / deviation
    expected = a @ b / np.sqrt((a @ a) * (b @ b))
    appearance = Appearance(first, inside)
    assert appearance.similarity(later, inside) == pytest.approx(expected, abs=1e-5)
    assert appearance.similarity(first, inside) == pytest.approx(1, abs=1e-5)


def test_a_box_outside_the_map_is_not_the_target() -> None:
    features = np.random.default_rng(1).normal(size=(4, 4, 6)).astype(np.float32)
    appearance = Appearance(features, np.ones((4, 4), np.float32))
    assert np.isfinite(appearance.similarity(features, np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize(
    ("confidence", "state"),
    [
        (1.0, TrackState.TRACKED),
        (UNCERTAIN_BELOW, TrackState.TRACKED),
        (UNCERTAIN_BELOW - 0.01, TrackState.UNCERTAIN),
        (LOST_BELOW, TrackState.UNCERTAIN),
        (LOST_BELOW - 0.01, TrackState.LOST),
        (0.0, TrackState.LOST),
    ],
)
def test_states_go_with_the_confidence(confidence: float, state: TrackState) -> None:
    assert state_of(confidence) is state


def test_a_target_that_vanishes_is_lost_and_one_that_stays_is_not(clip: Clip) -> None:
    tracker = Tracker("fmst")
    tracker.init(clip.images[0], clip.first_box)
    assert all(tracker.update(image).state is not TrackState.LOST for image in clip.images[1:20])
    elsewhere = np.roll(clip.images[20], (120, 160), axis=(0, 1))  # the view turned away
    states = [tracker.update(elsewhere).state for _ in range(5)]
    assert TrackState.TRACKED not in states
