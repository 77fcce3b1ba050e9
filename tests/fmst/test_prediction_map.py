"""Prediction maps against loops, and the resampling against functions it must keep."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker.fmst.prediction_map import normalise, prediction_map, resample, subtract_negative, sum_maps


def test_prediction_map_is_the_weighted_sum_of_channels() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(4, 5, 6)).astype(np.float32)
    weights = random.normal(size=6).astype(np.float32)
    slow = np.zeros((4, 5))
    for c in range(6):
        slow += weights[c] * features[:, :, c]
    np.testing.assert_allclose(prediction_map(features, weights), slow, rtol=1e-4, atol=1e-5)


def test_normalise_spans_zero_to_one() -> None:
    values = normalise(np.array([[-3.0, 1.0], [5.0, 2.0]], np.float32))
    np.testing.assert_allclose(values, [[0, 0.5], [1, 0.625]])


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_map_that_says_nothing_becomes_zero(value: float) -> None:
    assert not normalise(np.full((3, 3), value, np.float32)).any()


def test_subtract_negative_is_equation_13_without_what_is_negative() -> None:
    positive, negative = np.array([[0.0, 1.0]], np.float32), np.array([[1.0, 0.5]], np.float32)
    np.testing.assert_allclose(subtract_negative(positive, negative, 0.5), [[0, 1]])
    three = subtract_negative(np.array([[0, 0.5, 1]], np.float32), np.array([[1, 0, 0]], np.float32), 0.5)
    np.testing.assert_allclose(three, [[0, 0.5, 1]], rtol=1e-6)
    np.testing.assert_array_equal(subtract_negative(positive, np.ones_like(positive), 2.0), [[0, 0]])


def test_sum_is_normalised_again() -> None:
    a, b = np.array([[0.0, 1.0, 0.5]], np.float32), np.array([[0.0, 1.0, 1.0]], np.float32)
    np.testing.assert_allclose(sum_maps([a, b]), [[0, 1, 0.75]])


def test_resampling_keeps_constants_and_ramps() -> None:
    np.testing.assert_allclose(resample(np.full((14, 14), 0.3, np.float32), 56), 0.3, rtol=1e-5)
    ramp = np.tile((np.arange(14, dtype=np.float32) + 0.5) / 14, (14, 1))
    fine = (np.arange(56) + 0.5) / 56
    np.testing.assert_allclose(resample(ramp, 56)[30, 8:-8], fine[8:-8], atol=1e-5)
