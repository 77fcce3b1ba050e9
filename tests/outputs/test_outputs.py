"""Outputs: what they write, and that nothing half-written looks whole."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_tracker import Track, TrackState
from edge_tracker.errors import OutputError
from edge_tracker.outputs import ContactSheetOutput, CsvOutput, JsonLinesOutput, Output, VideoOutput
from edge_tracker.outputs.video import annotate, count_frames
from edge_tracker.video import Frame

IMAGE = np.full((48, 64, 3), 90, np.uint8)
TRACK = Track((1.23456, 2.0, 30.0, 40.0), 0.98765, TrackState.UNCERTAIN)


def frames(count: int = 3) -> list[Frame]:
    return [Frame(i, i / 25, IMAGE) for i in range(count)]


def make(kind: str, path: Path) -> Output:
    if kind == "mp4":
        return VideoOutput(path, 25.0)
    if kind == "png":
        return ContactSheetOutput(path, every=2)
    return {"jsonl": JsonLinesOutput, "csv": CsvOutput}[kind](path)


def test_json_lines(tmp_path: Path) -> None:
    output = JsonLinesOutput(tmp_path / "o.jsonl")
    for frame in frames():
        output.write(frame, TRACK)
    output.close(complete=True)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert records[1] == {
        "index": 1,
        "time_s": 0.04,
        "box": [1.235, 2.0, 30.0, 40.0],
        "confidence": 0.9877,
        "state": "UNCERTAIN",
    }


def test_csv(tmp_path: Path) -> None:
    output = CsvOutput(tmp_path / "o.csv")
    for frame in frames():
        output.write(frame, TRACK)
    output.close(complete=True)
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert rows[2]["index"] == "2"
    assert float(rows[2]["x"]) == pytest.approx(1.2346)
    assert rows[2]["state"] == "UNCERTAIN"


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_video(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"o{suffix}"
    output = VideoOutput(path, 25.0)
    for frame in frames(5):
        output.write(frame, TRACK)
    output.write(Frame(5, 0.2, np.zeros((20, 30, 3), np.uint8)), TRACK)  # another size
    output.close(complete=True)
    assert count_frames(path) == 6
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_contact_sheet_holds_every_nth_frame(tmp_path: Path) -> None:
    path = tmp_path / "o.png"
    output = ContactSheetOutput(path, every=3, columns=2)
    for frame in frames(7):
        output.write(frame, TRACK)
    output.close(complete=True)
    sheet = cv2.imread(str(path))
    assert sheet is not None
    assert sheet.shape == (2 * 180, 2 * 240, 3)  # frames 0, 3 and 6 of 64 x 48
    for row, column in ((0, 0), (0, 1), (1, 0)):
        assert sheet[180 * row :, 240 * column :][:180, :240].any()
    assert not sheet[180:, 240:].any()
    assert [p.name for p in tmp_path.iterdir()] == ["o.png"]


def test_a_contact_sheet_has_the_suffix_of_a_picture(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="ends in"):
        ContactSheetOutput(tmp_path / "o.mp4", every=1)


def test_annotation_draws_on_a_copy() -> None:
    picture = annotate(IMAGE, TRACK)
    assert (IMAGE == 90).all()
    assert picture.shape == IMAGE.shape
    assert (picture != 90).any()


@pytest.mark.parametrize("box", [(-1e6, -1e6, 3.0, 3.0), (0.0, 0.0, 1e5, 1e5), (60.0, 40.0, 10.0, 10.0)])
def test_annotation_survives_any_box(box: tuple[float, float, float, float]) -> None:
    assert annotate(IMAGE, Track(box, 0.5, TrackState.LOST)).shape == IMAGE.shape


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mp4", "png"])
def test_an_incomplete_output_does_not_bear_its_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"o.{kind}"
    output = make(kind, path)
    for frame in frames():
        output.write(frame, TRACK)
    output.close(complete=False)
    output.close(complete=True)  # a second close changes nothing
    assert [p.name for p in tmp_path.iterdir()] == [f"o.partial.{kind}"]
    if kind == "mp4":
        assert count_frames(tmp_path / "o.partial.mp4") == 3
    elif kind == "png":
        assert cv2.imread(str(tmp_path / "o.partial.png")) is not None
    else:
        assert "UNCERTAIN" in (tmp_path / f"o.partial.{kind}").read_text()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mp4", "png"])
def test_an_output_without_a_frame_leaves_nothing(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path / f"o.{kind}").close(complete=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mp4", "png"])
@pytest.mark.parametrize("where", ["no folder", "a folder", "under a file"])
def test_an_unwritable_place_is_refused_at_once(kind: str, where: str, tmp_path: Path) -> None:
    if where == "a folder":
        path = tmp_path / f"o.{kind}"
        path.mkdir()
    elif where == "under a file":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / f"o.{kind}"
    else:
        path = tmp_path / "none" / f"o.{kind}"
    with pytest.raises(OutputError, match=f"o.{kind}"):
        make(kind, path)


def test_an_unknown_container_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.mp4"):
        VideoOutput(tmp_path / "o.gif", 25.0)


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    output = JsonLinesOutput(tmp_path / "full")
    with pytest.raises(OutputError, match="No space left"):
        output.write(frames()[0], TRACK)
    with pytest.raises(OutputError, match="No space left"):
        output.close(complete=False)


def test_a_video_that_lost_frames_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = VideoOutput(tmp_path / "o.mp4", 25.0)
    for frame in frames(5):
        output.write(frame, TRACK)
    monkeypatch.setattr("edge_tracker.outputs.video.count_frames", lambda _: 3)
    with pytest.raises(OutputError, match="3 of 5"):
        output.close(complete=True)
    assert not (tmp_path / "o.mp4").exists()
