"""Galleries of descriptions, and what they tell of a target and of what stood beside it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker.closed_form.gallery import SAME, Gallery
from edge_tracker.closed_form.likeness import MOST_MARGIN, Evidence, Presence
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid
from edge_tracker.roi import Window
from tests.closed_form.conftest import in_parts

SIDE, GRID = 96, Grid(12, 8, 4.0)
LEFT, RIGHT = (8.0, 30.0, 30.0, 40.0), (56.0, 30.0, 30.0, 40.0)


def unit(seed: int, size: int = 16) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_an_empty_gallery_is_like_nothing() -> None:
    np.testing.assert_array_equal(Gallery(3, 16).likeness(np.stack([unit(0), unit(1)])), [-1, -1])


def test_likeness_is_to_the_most_similar_one() -> None:
    gallery = Gallery(3, 16)
    for seed in (0, 1):
        gallery.add(unit(seed))
    asked = np.stack([unit(0), unit(1), unit(2)])
    np.testing.assert_allclose(gallery.likeness(asked), (asked @ np.stack([unit(0), unit(1)]).T).max(axis=1), rtol=1e-5)


def test_what_was_not_seen_for_longest_makes_room_but_the_first_stays() -> None:
    gallery = Gallery(3, 16)
    gallery.add(unit(0), stays=True)
    gallery.add(unit(1))
    gallery.add(unit(2))
    gallery.add(unit(1))  # seen again: 2 is the oldest now
    gallery.add(unit(3))
    found = gallery.likeness(np.stack([unit(seed) for seed in range(4)]))
    assert found[[0, 1, 3]] == pytest.approx(1)
    assert found[2] < SAME
    for seed in range(10, 40):
        gallery.add(unit(seed))
    assert gallery.likeness(unit(0)[None])[0] == pytest.approx(1)


def test_what_is_like_a_stored_one_takes_no_room() -> None:
    gallery = Gallery(2, 16)
    gallery.add(unit(0))
    near = unit(0) + 0.2 * unit(1)
    near /= np.linalg.norm(near)
    assert near @ unit(0) > SAME
    gallery.add(near)
    gallery.add(unit(2))
    assert gallery.likeness(np.stack([unit(0), unit(2)])) == pytest.approx(1)


def view(seed: int = 0) -> View:
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(GRID.cells, GRID.cells, 8)).astype(np.float32)
    return View(Window(0, 0, SIDE), random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), coarse, coarse)


def presence(seen: View, weights: np.ndarray) -> Presence:
    return Presence(seen, LEFT, in_parts(GRID), weights)


def test_what_was_seen_beside_the_target_is_not_the_target() -> None:
    seen = view()
    known = presence(seen, np.zeros((2, 6)))
    before = known.evidence(seen, RIGHT, 0.5, 0.3)
    assert before.margin == pytest.approx(min(before.likeness + 1, MOST_MARGIN))  # nothing is known against it
    known.beside(seen, [RIGHT])
    after = known.evidence(seen, RIGHT, 0.5, 0.3)
    assert after.margin == pytest.approx(after.likeness - 1, abs=1e-5)
    assert after[:4] == before[:4]
    own = known.evidence(seen, LEFT, 0.5, 0.3)
    assert own.likeness == pytest.approx(1, abs=1e-5)
    assert own.margin > 0 > after.margin
    assert known.evidence(seen, RIGHT, 0.5, 0.3, 0.4) == (0.5, 0.4, after.colour, 0.3, 0.0)  # nothing is compared anew
    known.remember(seen, RIGHT)  # it was the target after all
    assert known.evidence(seen, RIGHT, 0.5, 0.3).likeness == pytest.approx(1, abs=1e-5)


def test_following_and_seeking_have_weights_of_their_own() -> None:
    weights = np.array([[2.0, 1.0, 0.5, 1.0, 0.0, -1.0], [2.0, 1.0, 0.5, 1.0, 4.0, -1.0]])
    known, evidence = presence(view(), weights), Evidence(0.5, 0.4, 0.2, 0.6, -0.5)
    said = [known.probability(evidence, seeking) for seeking in (False, True)]
    scores = 2 * 0.5 + 0.4 + 0.5 * 0.2 + 0.6 - 1 + np.array([0, 4 * -0.5])
    assert said == pytest.approx(1 / (1 + np.exp(-scores)))
