"""Folders that fill: logs that begin anew, recordings of what was TRACKED, and a disk that is full for a while."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_tracker.errors import ConfigError, OutputError
from edge_tracker.outputs.folder import LogOutput, RecordOutput, file_name
from edge_tracker.outputs.open import Origin, open_output
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame


def frame(index: int, fps: float = 10.0) -> Frame:
    image = np.full((48, 64, 3), 40 + index % 150, np.uint8)
    return Frame(index, index / fps, image, taken_at=1e9 + index / fps)


def track(state: TrackState = TrackState.TRACKED) -> Track:
    return Track((10.0, 10.0, 20.0, 20.0), 0.9, state, "a")


def lines(folder: Path) -> list[int]:
    """Indices in all finished logs; each line whole."""
    found = []
    for path in sorted(folder.glob("*.jsonl"), key=lambda p: p.stat().st_mtime_ns):
        if ".partial" not in path.name:
            found += [json.loads(line)["index"] for line in path.read_text().splitlines()]
    return found


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_log_begins_anew_by_size_and_by_time(tmp_path: Path) -> None:
    for option, count in (("megabytes=0.002", 100), ("hours=0.0005", 60)):
        folder = tmp_path / option[:4]
        folder.mkdir()
        output = open_output(f"log:{folder}?{option}&files=100", Origin(camera="front door"))
        for index in range(count):
            output.write(frame(index), [track()])
        output.write(frame(count), [])  # nothing to say
        output.close(True)
        files = list(folder.iterdir())
        assert 3 <= len(files) <= 12
        assert all(path.name.startswith("front_door-") for path in files)
        assert sorted(lines(folder)) == list(range(count))
        if option.startswith("mega"):
            assert max(path.stat().st_size for path in files) < 2400


def test_only_the_newest_are_kept_and_strangers_stay(tmp_path: Path) -> None:
    stranger = tmp_path / "camera-diary.jsonl"
    stranger.write_text("mine")
    output = LogOutput(f"{tmp_path}?megabytes=0.0005&files=3")
    for index in range(100):
        output.write(frame(index), [track()])
    output.close(True)
    assert stranger.read_text() == "mine"
    ours = [path for path in tmp_path.iterdir() if path != stranger]
    assert len(ours) == 3
    newest = max(ours, key=lambda p: p.stat().st_mtime_ns)
    assert json.loads(newest.read_text().splitlines()[-1])["index"] == 99


def test_a_log_survives_a_full_disk(tmp_path: Path) -> None:
    output = LogOutput(f"{tmp_path}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    failed = []
    for index in range(60):
        if index == 20:  # no file may grow beyond what there is
            size = max(path.stat().st_size for path in tmp_path.iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        if index == 40:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if 20 <= index < 40 and index > 25:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            output.write(frame(index), [track()])
        except OutputError as error:
            failed.append(index)
            assert "cannot write" in str(error)
    output.close(True)
    kept = lines(tmp_path)
    assert failed
    assert max(failed) < 40
    assert set(kept) >= set(range(20)) | set(range(40, 60))


def test_a_folder_that_is_taken_away_and_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    output = LogOutput(str(folder))
    failed = 0
    for index in range(30):
        if index == 10:
            shutil.rmtree(folder)
        if index == 20:
            folder.mkdir()
        try:
            output.write(frame(index), [track()])
        except OutputError:
            failed += 1
    output.close(True)
    assert failed >= 9
    assert set(range(20, 30)) <= set(lines(folder))


def test_the_newest_stay_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a clock of its own writes files that seem years older than those that lie there."""
    output = LogOutput(f"{tmp_path}?megabytes=0.0005&files=3")
    for index in range(40):
        output.write(frame(index), [track()])
        for path in tmp_path.glob("*.partial.jsonl"):
            os.utime(path, (1e9 - index, 1e9 - index))
    output.close(True)
    found = sorted(index for path in tmp_path.iterdir() for index in map(index_of, path.read_text().splitlines()))
    assert len(list(tmp_path.iterdir())) == 3
    assert found == list(range(found[0], 40))


def index_of(line: str) -> int:
    return int(json.loads(line)["index"])


def test_recordings_hold_what_was_tracked_with_the_seconds_before_and_after(tmp_path: Path) -> None:
    output = open_output(f"record:{tmp_path}?before=1&after=0.5", Origin(fps=10.0, camera="gate"))
    for index in range(120):
        seen = 30 <= index < 50 or 90 <= index < 100
        output.write(frame(index), [track(TrackState.TRACKED if seen else TrackState.LOST)] if index > 5 else [])
    output.close(True)
    files = sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    assert [path.suffix for path in files] == [".mp4", ".mp4"]
    counts = [frames_in(path) for path in files]
    assert 34 <= counts[0] <= 37  # 10 before, 20, 5 after
    assert 24 <= counts[1] <= 27
    with av.open(str(files[0])) as container:
        shots = [(f.time, int(f.to_ndarray(format="gray").mean())) for f in container.decode(video=0)]
    assert shots[0][0] == 0
    assert abs(shots[-1][0] - (counts[0] - 1) / 10) < 0.05
    assert abs(shots[0][1] - (40 + 20)) < 14  # the picture of frame 20, with a box drawn in


def test_recordings_come_to_an_end(tmp_path: Path) -> None:
    output = RecordOutput(f"{tmp_path}?before=0&minutes=0.05&files=2&drawn=false", fps=10.0)
    for index in range(150):
        output.write(frame(index), [track()])
    output.close(True)
    files = list(tmp_path.iterdir())
    assert len(files) == 2  # of five
    assert all(frames_in(path) <= 31 for path in files)


def test_memory_of_the_seconds_before_is_bounded(tmp_path: Path) -> None:
    output: Any = RecordOutput(f"{tmp_path}?before=2", fps=10.0)
    for index in range(500):
        output.write(frame(index), [])
    assert len(output._before) <= 22
    assert list(tmp_path.iterdir()) == []
    output.close(True)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_fails_is_tried_again_later(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    output = RecordOutput(f"{folder}?before=1", fps=10.0)
    output.write(frame(0), [])
    shutil.rmtree(folder)
    failures: list[OutputError] = []
    for index in range(1, 200):
        if index == 80:
            folder.mkdir()
        try:
            output.write(frame(index), [track()])
        except OutputError as error:
            failures.append(error)
    output.close(True)
    assert 80 <= len(failures) <= 130
    assert len({id(error) for error in failures}) <= 3  # not tried with every frame
    (path,) = folder.iterdir()
    assert frames_in(path) > 50
    with av.open(str(path)) as container:  # from the second before it was well again, not from long ago
        times = [float(shot.time or 0) for shot in container.decode(video=0)]
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.15


@pytest.mark.parametrize(
    "spec", ["log:none", "record:none", "log:.?files=0", "log:.?file=3", "record:.?before=-1", "record:.?before=x"]
)
def test_what_is_wrong_is_said_at_the_start(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((OutputError, ConfigError)):
        open_output(spec)


def test_a_cameras_name_leads_into_no_other_folder() -> None:
    assert file_name("../../etc/x y") == "etc_x_y"
    assert file_name("///") == "camera"
    assert file_name("前门") != file_name("后门")
