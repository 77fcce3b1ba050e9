"""Channel scores and weights against loops that spell the equations out."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker.fmst.channel_scores import average_scores, channel_scores
from edge_tracker.fmst.channel_weights import top_fraction


def test_scores_are_sums_of_hadamard_products() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(5, 4, 7)).astype(np.float32)
    target = random.normal(size=(5, 4)).astype(np.float32)
    slow = [sum(features[i, j, c] * target[i, j] for i in range(5) for j in range(4)) for c in range(7)]
    np.testing.assert_allclose(channel_scores(features, target), slow, rtol=1e-4, atol=1e-5)


def test_scores_do_not_depend_on_memory_order() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(14, 14, 33)).astype(np.float32)
    target = random.normal(size=(14, 14)).astype(np.float32)
    channels_first = np.ascontiguousarray(features.transpose(2, 0, 1)).transpose(1, 2, 0)
    np.testing.assert_allclose(
        channel_scores(features, target), channel_scores(channels_first, target), rtol=1e-4, atol=1e-4
    )


def test_average_follows_equation_6() -> None:
    average = np.array([1.0, -2.0], np.float32)
    for _ in range(3):
        average = average_scores(average, np.array([0.0, 4.0], np.float32), 0.9)
    np.testing.assert_allclose(average, [0.9**3, 4 - 6 * 0.9**3], rtol=1e-5)
    assert average.dtype == np.float32


@pytest.mark.parametrize("fraction", [0.001, 0.0446, 0.1, 0.5, 1.0])
def test_top_fraction_selects_the_highest_scores(fraction: float) -> None:
    scores = np.random.default_rng(2).normal(size=672).astype(np.float32)
    weights = top_fraction(scores, fraction)
    count = max(1, round(672 * fraction))
    assert set(np.flatnonzero(weights)) == set(sorted(range(672), key=lambda c: -scores[c])[:count])
    assert set(np.unique(weights)) <= {0.0, 1.0}


def test_ties_go_to_the_lower_channel() -> None:
    np.testing.assert_array_equal(top_fraction(np.zeros(10, np.float32), 0.3), [1, 1, 1] + [0] * 7)
