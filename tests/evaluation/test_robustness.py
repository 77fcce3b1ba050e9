"""SRE and TRE start where Wu, Lim and Yang say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tracker.boxes import centre
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.evaluation.ope import run_task, run_tasks
from edge_tracker.evaluation.robustness import spatial_variants, summarise_robustness, temporal_variants
from tests.evaluation.test_ope import Still


def long_task(otb_folder: Path, frames: int, hidden: slice = slice(0, 0)) -> Task:
    task = read_tasks(otb_folder)[0]
    boxes = np.tile([100.0, 80.0, 40.0, 30.0], (frames, 1))
    boxes[hidden] = np.nan
    return Task("Long", tuple(task.frames[k % len(task)] for k in range(frames)), boxes)


def test_twelve_boxes_eight_shifted_four_scaled(otb_folder: Path) -> None:
    task = long_task(otb_folder, 5)
    x, y, w, h = task.boxes[0]
    variants = spatial_variants(task)
    assert len(variants) == len({variant.name for variant in variants}) == 12
    shifted = [v.init_box for v in variants if v.init_box[2] == w]
    assert {(round(b[0] - x, 6), round(b[1] - y, 6)) for b in shifted} == {
        (dx * 0.1 * w, dy * 0.1 * h) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0)
    }
    scaled = [v.init_box for v in variants if v.init_box[2] != w]
    assert sorted(b[2] / w for b in scaled) == pytest.approx([0.8, 0.9, 1.1, 1.2])
    for box in scaled:
        assert box[2] / w == pytest.approx(box[3] / h)
        assert centre(tuple(box)) == pytest.approx(centre(tuple(task.boxes[0])))
    for variant in variants:
        np.testing.assert_array_equal(variant.boxes, task.boxes)  # the truth stays


def test_a_perturbed_box_stays_inside_the_frame(otb_folder: Path) -> None:
    task = long_task(otb_folder, 5)
    edge = Task("Edge", task.frames, np.tile([1.0, 200.0, 30.0, 40.0], (5, 1)))  # frames are 320 x 240
    for variant in spatial_variants(edge):
        x, y, w, h = variant.init_box
        assert x >= 0
        assert y + h <= 240
        assert min(w, h) > 0


def test_the_tracker_is_given_the_perturbed_box_and_judged_by_the_truth(otb_folder: Path) -> None:
    variant = next(v for v in spatial_variants(long_task(otb_folder, 5)) if v.name == "Long-right")
    result = run_task(Still, variant)
    np.testing.assert_allclose(result.boxes, np.tile([104.0, 80.0, 40.0, 30.0], (5, 1)))
    overlap = (36 * 30) / (44 * 30)
    assert result.curves.success_score == pytest.approx(np.mean(overlap > np.linspace(0, 1, 21)))


def test_twenty_starts_evenly_to_the_end(otb_folder: Path) -> None:
    task = long_task(otb_folder, 210)
    variants = temporal_variants(task)
    starts = [210 - len(variant) for variant in variants]
    assert starts == list(range(0, 191, 10))
    for start, variant in zip(starts, variants, strict=True):
        assert variant.frames == task.frames[start:]
        np.testing.assert_array_equal(variant.init_box, task.boxes[start])


def test_no_segment_starts_on_a_hidden_target_or_too_late(otb_folder: Path) -> None:
    task = long_task(otb_folder, 60, hidden=slice(10, 30))
    starts = [60 - len(variant) for variant in temporal_variants(task)]
    assert not set(starts) & set(range(10, 30))
    assert starts[0] == 0
    assert max(starts) == 40
    assert len(starts) == 20


def test_a_short_sequence_has_fewer_segments(otb_folder: Path) -> None:
    assert len(temporal_variants(long_task(otb_folder, 25))) == 6
    assert len(temporal_variants(long_task(otb_folder, 12))) == 1


def test_the_summary_is_the_mean_of_means_and_its_ratio_to_ope(otb_folder: Path) -> None:
    tasks = [long_task(otb_folder, 25), read_tasks(otb_folder)[0]]
    ope = list(run_tasks(Still, tasks))
    varied = {task.name: list(run_tasks(Still, spatial_variants(task))) for task in tasks}
    summary, plain, mean = summarise_robustness("sre", ope, varied)
    by_hand = np.mean([np.mean([r.curves.success_score for r in results]) for results in varied.values()])
    assert summary["success"] == pytest.approx(by_hand) == mean.success_score
    assert summary["ratio"] == pytest.approx(by_hand / np.mean([r.curves.success_score for r in ope]))
    assert summary["ope_success"] == plain.success_score
    rows = summary["tasks"]
    assert isinstance(rows, dict)
    assert rows["Long"]["runs"] == 12
    assert set(rows["Long"]["variants"]) >= {"left", "downright", "scale0.8"}
