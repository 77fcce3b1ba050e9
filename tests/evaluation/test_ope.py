"""One-pass evaluation: the first box is given, the rest is found, in one process as in several."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_tracker import Track, Tracker, TrackState
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.ope import read_frames, run_task, run_tasks, summarise, write_frames
from edge_tracker.evaluation.peers import SCORED, Cv2Peer, find_peers
from tests.conftest import Clip


class Still:
    """A tracker that never moves."""

    def init(self, image: object, box: object) -> None:
        self.box = tuple(float(v) for v in np.asarray(box))

    def update(self, image: object) -> Track:
        return Track(self.box, 0.5, TrackState.TRACKED)  # type: ignore[arg-type]


def test_the_first_box_is_the_truth_and_the_rest_the_trackers(otb_folder: Path) -> None:
    task = read_tasks(otb_folder)[0]
    result = run_task(Still, task)
    np.testing.assert_array_equal(result.boxes, np.tile(task.boxes[0], (12, 1)))
    assert len(result.update_s) == 11
    assert result.fps > 0


def test_processes_find_the_same_boxes(otb_folder: Path) -> None:
    tasks = read_tasks(otb_folder)
    alone, together = ({r.task.name: r.boxes for r in run_tasks(partial(Tracker), tasks, jobs)} for jobs in (1, 2))
    assert alone.keys() == together.keys()
    for name in alone:
        np.testing.assert_array_equal(alone[name], together[name])


def test_the_summary(otb_folder: Path) -> None:
    results = list(run_tasks(Tracker, read_tasks(otb_folder)))
    summary = summarise(results)
    tasks = summary["tasks"]
    assert isinstance(tasks, dict)
    assert summary["frames"] == 36
    assert set(tasks) == {"Alpha", "Beta.1", "Beta.2"}
    assert set(tasks["Alpha"]) == {"precision", "success", "fps", "frames"}
    assert summary["precision"] == pytest.approx(np.mean([t["precision"] for t in tasks.values()]))
    assert 0.5 < tasks["Alpha"]["success"] <= 1


def test_peers_of_opencv_fit_the_same_shape(otb_folder: Path) -> None:
    result = run_task(partial(Cv2Peer, cv2.TrackerMIL.create), read_tasks(otb_folder)[0])
    assert result.boxes.shape == (12, 4)
    assert result.curves.success_score > 0.3
    assert set(result.confidences) == {1.0}  # it knows no score


class Failing:
    """A tracker of OpenCV's shape that finds the target once, then does not, then raises."""

    def init(self, image: object, box: object) -> None:
        self.calls = 0

    def update(self, image: object) -> tuple[bool, tuple[int, ...]]:
        self.calls += 1
        if self.calls == 3:
            raise cv2.error("assertion failed")
        return self.calls == 1, (1, 2, 3, 4)


def test_a_peer_that_finds_nothing_or_fails_is_lost_where_it_was(clip: Clip) -> None:
    peer = Cv2Peer(Failing)
    peer.init(clip.images[0], (5, 6, 7, 8))
    tracks = [peer.update(clip.images[0]) for _ in range(3)]
    assert [track.state for track in tracks] == [TrackState.TRACKED, TrackState.LOST, TrackState.LOST]
    assert [track.confidence for track in tracks] == [1, 0, 0]
    assert {track.box for track in tracks} == {(1, 2, 3, 4)}


def test_peers_without_files_are_left_out(tmp_path: Path) -> None:
    assert not SCORED & set(find_peers(tmp_path))


def test_frames_are_read_back_as_written(otb_folder: Path, tmp_path: Path) -> None:
    task, other = read_tasks(otb_folder)[0], read_tasks(otb_folder)[2]
    assert read_frames(tmp_path, task) is None
    result = run_task(Tracker, task)
    write_frames(tmp_path, result)
    again = read_frames(tmp_path, task)
    assert again is not None
    np.testing.assert_array_equal(again.boxes, result.boxes)
    np.testing.assert_array_equal(again.confidences, result.confidences)
    assert again.states == result.states
    np.testing.assert_allclose(again.update_s, result.update_s, atol=1e-7)
    (tmp_path / "Alpha.csv").rename(tmp_path / "Beta.2.csv")
    with pytest.raises(DatasetError, match="other footage"):
        read_frames(tmp_path, other)
    (tmp_path / "Alpha.csv").write_text("frame,x\n0,nonsense\n")
    with pytest.raises(DatasetError, match="cannot read"):
        read_frames(tmp_path, task)
