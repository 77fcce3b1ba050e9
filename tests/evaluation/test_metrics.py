"""Metrics against the got10k toolkit's own, and against a naive reading of their definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.evaluation.metrics import curves, mean_curves

Boxes = NDArray[np.float64]


def some_boxes(seed: int, frames: int = 80) -> tuple[Boxes, Boxes]:
    """Ground truth, and predictions from perfect to hopeless."""
    random = np.random.default_rng(seed)
    truth = np.concatenate([random.uniform(0, 200, (frames, 2)), random.uniform(5, 60, (frames, 2))], axis=1)
    error = random.normal(size=(frames, 4)) * np.linspace(0, 25, frames)[:, None]
    predicted = truth + error
    predicted[:, 2:] = np.maximum(predicted[:, 2:], 1)
    return predicted, truth


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_the_toolkits(seed: int) -> None:
    otb = pytest.importorskip("got10k.experiments.otb", reason="the comparison needs the got10k toolkit")
    predicted, truth = some_boxes(seed)
    experiment = otb.ExperimentOTB.__new__(otb.ExperimentOTB)  # its constructor wants the data set on disk
    experiment.nbins_iou, experiment.nbins_ce = 21, 51
    success, precision = experiment._calc_curves(*experiment._calc_metrics(predicted.copy(), truth.copy()))
    found = curves(predicted, truth)
    np.testing.assert_allclose(found.success, success, atol=1e-6)
    np.testing.assert_allclose(found.precision, precision, atol=1e-6)
    assert found.success_score == pytest.approx(np.mean(success), abs=1e-6)
    assert found.precision_score == pytest.approx(precision[20], abs=1e-6)


def test_scores_equal_their_definition() -> None:
    predicted, truth = some_boxes(9)
    close, overlaps = [], []
    for (x, y, w, h), (u, v, s, t) in zip(predicted, truth, strict=True):
        close.append(((x + w / 2 - u - s / 2) ** 2 + (y + h / 2 - v - t / 2) ** 2) ** 0.5 <= 20)
        width, height = min(x + w, u + s) - max(x, u), min(y + h, v + t) - max(y, v)
        common = max(width, 0) * max(height, 0)
        overlaps.append(common / (w * h + s * t - common))
    found = curves(predicted, truth)
    assert found.precision_score == pytest.approx(np.mean(close))
    thresholds = [0.05 * k for k in range(21)]
    slow = np.mean([np.mean([o > threshold for o in overlaps]) for threshold in thresholds])
    assert found.success_score == pytest.approx(slow, abs=1e-6)


def test_a_perfect_tracker_scores_20_of_21() -> None:
    """The overlap of 1 is not above the last threshold; the toolkit counts it so as well."""
    _, truth = some_boxes(0)
    assert curves(truth, truth).precision_score == 1
    assert curves(truth, truth).success_score == pytest.approx(20 / 21)


def test_hidden_frames_do_not_count() -> None:
    predicted, truth = some_boxes(1)
    hidden = truth.copy()
    hidden[10:20] = np.nan
    keep = np.r_[0:10, 20:80]
    expected = curves(predicted[keep], truth[keep])
    np.testing.assert_array_equal(curves(predicted, hidden).success, expected.success)


def test_tasks_weigh_the_same_however_long() -> None:
    long, short = some_boxes(2, 100), some_boxes(3, 10)
    each = [curves(*long), curves(*short)]
    assert mean_curves(each).precision_score == pytest.approx(np.mean([c.precision_score for c in each]))
