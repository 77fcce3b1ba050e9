"""What states are worth, on runs whose truth is made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tracker.evaluation.datasets import Task
from edge_tracker.evaluation.ope import TaskResult
from edge_tracker.evaluation.truth_metrics import summarise_truth, truth_line, truth_of
from edge_tracker.track import TrackState

BOX = (10.0, 10.0, 20.0, 20.0)
T, U, L = TrackState.TRACKED, TrackState.UNCERTAIN, TrackState.LOST


def result(
    shifts: list[float], states: list[TrackState], confidences: list[float], hidden: tuple[int, ...] = ()
) -> TaskResult:
    """Boxes so many widths beside the truth."""
    truth = np.array([BOX] * len(shifts))
    boxes = truth + np.array([[20 * s, 0, 0, 0] for s in shifts])
    truth[list(hidden)] = np.nan
    task = Task("made-up", tuple(Path(f"{i}.png") for i in range(len(shifts))), truth)
    return TaskResult(task, boxes, np.array(confidences), tuple(states), np.full(len(shifts) - 1, 0.01))


def test_frames_are_counted_by_state_and_confidence() -> None:
    # Frame 0 is given; 1 right; 2 neither; 3 and 4 wrong; 5 wrong but LOST; 6 right but LOST; 7 hidden.
    run = result([0, 0, 0.6, 2, 2, 2, 0, 0], [T, T, T, T, U, L, L, T], [1, 0.95, 0.95, 0.65, 0.5, 0, 0, 0.85], (7,))
    truth = truth_of(run)
    assert truth.said == {T: 4, U: 1, L: 2}
    assert truth.wrong == {T: 2, U: 1, L: 1}
    assert truth.right == {T: 1, U: 0, L: 1}
    assert truth.wrong_while_tracked == pytest.approx(0.5)
    assert truth.tracked_in.tolist() == [1, 0, 1, 2]
    assert truth.wrong_in.tolist() == [1, 0, 1, 0]
    assert truth.drift == (3, 1)  # frames 2 to 4 before LOST at 5; frame 7 to the end
    summary = summarise_truth([run])
    assert summary["false_lost"] == pytest.approx(0.5)
    assert summary["wrong_by_state"] == {"TRACKED": 0.5, "UNCERTAIN": 1.0, "LOST": 0.5}
    assert summary["drift_frames"] == {"times": 2, "median": 2.0}


def test_found_again_in_time_or_not() -> None:
    away = tuple(range(5, 10))
    states = [T] * 5 + [L] * 5
    soon = result([0] * 40, states + [L] * 3 + [T] * 27, [1.0] * 40, away)
    late = result([0] * 40, states + [L] * 20 + [T] * 10, [1.0] * 40, away)
    assert truth_of(soon).found == (True,)
    assert truth_of(late).found == (False,)
    summary = summarise_truth([soon, late])
    assert summary["found_within_15"] == 0.5
    assert truth_line(summary) == "wrong while TRACKED 0.0 %, right but LOST 33.8 %, re-found within 15 frames 50.0 %"


def test_tasks_weigh_the_same_in_wrong_while_tracked() -> None:
    long = result([0] * 50, [T] * 50, [1.0] * 50)
    short = result([0, 3], [T, T], [1.0, 1.0])
    assert summarise_truth([long, short])["wrong_while_tracked"] == pytest.approx(0.5)
    assert summarise_truth([result([0, 0], [T, L], [1.0, 0.0])])["wrong_while_tracked"] == 0
