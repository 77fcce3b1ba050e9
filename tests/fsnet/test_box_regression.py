"""The ridge regression of boxes against its primal form, and that it brings boxes onto the target."""

from __future__ import annotations

import numpy as np

from edge_tracker.boxes import deltas, iou, moved
from edge_tracker.fsnet import samples
from edge_tracker.fsnet.box_regression import ridge_regression
from edge_tracker.fsnet.roi_align import roi_align


def test_it_is_the_primal_solution_on_standardised_inputs() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(2, 3, (60, 12)).astype(np.float32)
    wanted = random.normal(size=(60, 4))
    weights, constants = ridge_regression(rows, wanted, 0.3)
    inputs = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    damping = 0.3 * np.trace(inputs @ inputs.T) / 60
    primal = np.linalg.solve(inputs.T @ inputs + damping * np.eye(12), inputs.T @ (wanted - wanted.mean(axis=0)))
    np.testing.assert_allclose(rows @ weights + constants, inputs @ primal + wanted.mean(axis=0), atol=1e-4)


def test_maps_without_texture_are_no_obstacle() -> None:
    rows = np.zeros((30, 18), np.float32)
    wanted = np.random.default_rng(0).normal(size=(30, 4))
    weights, constants = ridge_regression(rows, wanted, 0.1)
    np.testing.assert_allclose(rows @ weights + constants, np.tile(wanted.mean(axis=0), (30, 1)), atol=1e-5)


def test_it_brings_boxes_onto_the_target() -> None:
    random = np.random.default_rng(0)
    ys, xs = np.mgrid[:20, :20]
    maps = np.stack([np.exp(-((xs - a) ** 2 + (ys - b) ** 2) / 12) for a, b in random.uniform(4, 16, (24, 2))], axis=-1)
    maps = maps.astype(np.float32)
    truth = (8.0, 7.0, 5.0, 6.0)
    first, unseen = (samples.jittered(truth, 200, 0.12, 0.13, random) for _ in range(2))
    weights, constants = ridge_regression(roi_align(maps, first), deltas(first, np.array(truth)), 0.1)
    corrected = moved(unseen, (roi_align(maps, unseen) @ weights + constants).astype(np.float64))
    before, after = iou(unseen, np.array(truth)), iou(corrected, np.array(truth))
    assert after.mean() > before.mean() + 0.1
