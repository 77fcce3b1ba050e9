"""Candidates: their distribution, their scores against exact areas, their confidences against the equation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tracker.fmst.candidates import best_candidate, candidate_confidences, candidate_scores, draw_candidates
from edge_tracker.fmst.target_map import coverage

BOX = (100.0, 50.0, 40.0, 20.0)


def draw(count: int = 50_000, mean_size: float = 0.996, sigma_wh: float = 0.01) -> np.ndarray:
    return draw_candidates(BOX, np.random.default_rng(3), count, 1 / 3, sigma_wh, mean_size)


def test_positions_are_gaussian_around_the_last_centre() -> None:
    centres = draw()[:, :2] + draw()[:, 2:] / 2
    np.testing.assert_allclose(centres.mean(axis=0), [120, 60], atol=0.3)
    np.testing.assert_allclose(centres.std(axis=0), [40 / 3, 40 / 3], rtol=0.02)


def test_sizes_are_gaussian_and_keep_the_aspect() -> None:
    sizes = draw()[:, 2:]
    factors = sizes / [40, 20]
    np.testing.assert_allclose(factors[:, 0], factors[:, 1])
    assert factors.mean() == pytest.approx(0.996, abs=2e-4)
    assert factors.std() == pytest.approx(0.01, rel=0.02)


def test_sizes_stay_positive_however_wide_the_spread() -> None:
    assert (draw(sigma_wh=1.0)[:, 2:] > 0).all()


def test_the_same_seed_draws_the_same_boxes() -> None:
    np.testing.assert_array_equal(draw(600), draw(600))


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.floats(-5, 18), st.floats(-5, 18), st.floats(0.05, 20), st.floats(0.05, 20)),
    st.integers(0, 1000),
)
def test_scores_are_exact_integrals(box: tuple[float, float, float, float], seed: int) -> None:
    """Each cell counts with the exact share of it that the box covers."""
    values = np.random.default_rng(seed).random((14, 12)).astype(np.float32)
    slow = (coverage(box, (14, 12)).astype(np.float64) * (values - 0.2)).sum()
    found = candidate_scores(values, np.array([box]), 0.2)
    np.testing.assert_allclose(found, [slow], rtol=1e-4, atol=1e-4)


def test_confidence_is_equation_11() -> None:
    candidates = draw(50)
    scores = np.random.default_rng(4).normal(size=50)
    slow = []
    for (x, y, w, h), score in zip(candidates, scores, strict=True):
        distance = ((x + w / 2 - 120) ** 2 + (y + h / 2 - 60) ** 2) ** 0.5
        slow.append(max(0, 1 - distance / 60) * (score - min(scores)))
    np.testing.assert_allclose(candidate_confidences(scores, candidates, BOX, 60), slow, rtol=1e-9)


def test_a_candidate_out_of_reach_is_never_best() -> None:
    candidates = np.array([[100.0, 50, 40, 20], [500.0, 50, 40, 20]])
    confidences = candidate_confidences(np.array([1.0, 0.0]), candidates, BOX, 60)
    assert confidences[1] == 0
    assert confidences[0] > 0


def test_best_candidate_averages_the_best() -> None:
    candidates = np.array([[0.0, 0, 10, 10], [2, 4, 12, 12], [50, 50, 1, 1]])
    confidences = np.array([0.8, 0.9, 0.1])
    assert best_candidate(confidences, candidates, 1) == (2, 4, 12, 12)
    assert best_candidate(confidences, candidates, 2) == (1, 2, 11, 11)
