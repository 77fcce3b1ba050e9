"""Outputs: what they write, and that nothing half-written looks whole."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge_tracker import Track, TrackState
from edge_tracker.errors import OutputError
from edge_tracker.outputs import (
    ContactSheetOutput,
    CsvOutput,
    JsonLinesOutput,
    MotOutput,
    Output,
    VideoOutput,
    open_output,
    open_outputs,
)
from edge_tracker.outputs.annotate import annotate
from edge_tracker.video import Frame, open_source
from tests.footage import count_frames, times_of

IMAGE = np.full((48, 64, 3), 90, np.uint8)
TRACK = Track((1.23456, 2.0, 30.0, 40.0), 0.98765, TrackState.UNCERTAIN)


def frames(count: int = 3) -> list[Frame]:
    return [Frame(i, i / 25, IMAGE) for i in range(count)]


def make(kind: str, path: Path) -> Output:
    if kind == "mp4":
        return VideoOutput(path, 25.0)
    if kind == "png":
        return ContactSheetOutput(path, every=2)
    return {"jsonl": JsonLinesOutput, "csv": CsvOutput, "mot": MotOutput}[kind](path)


def test_json_lines(tmp_path: Path) -> None:
    output = JsonLinesOutput(tmp_path / "o.jsonl")
    for frame in frames():
        output.write(frame, [TRACK])
    output.close(complete=True)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert records[1] == {
        "index": 1,
        "time_s": 0.04,
        "target": "target",
        "box": [1.235, 2.0, 30.0, 40.0],
        "confidence": 0.9877,
        "state": "UNCERTAIN",
    }


def test_csv(tmp_path: Path) -> None:
    output = CsvOutput(tmp_path / "o.csv")
    for frame in frames():
        output.write(frame, [TRACK])
    output.close(complete=True)
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert rows[2]["index"] == "2"
    assert float(rows[2]["x"]) == pytest.approx(1.2346)
    assert rows[2]["state"] == "UNCERTAIN"


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".avi", ".mkv"])
def test_video(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"o{suffix}"
    output = VideoOutput(path, 25.0)
    for frame in frames(5):
        output.write(frame, [TRACK])
    output.write(Frame(5, 0.2, np.zeros((20, 30, 3), np.uint8)), [TRACK])  # another size
    output.close(complete=True)
    assert count_frames(path) == 6
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_contact_sheet_holds_every_nth_frame(tmp_path: Path) -> None:
    path = tmp_path / "o.png"
    output = ContactSheetOutput(path, every=3, columns=2)
    for frame in frames(7):
        output.write(frame, [TRACK])
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


@pytest.mark.parametrize("size", [(4001, 17), (17, 4001)])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_contact_sheet_of_narrow_pictures(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / f"sheet{suffix}"
    sheet = ContactSheetOutput(path)
    image = np.zeros((*size, 3), np.uint8)
    for index in range(30):
        sheet.write(Frame(index, index / 30, image), [Track((1, 1, 9, 9), 1.0, TrackState.TRACKED)])
    sheet.close(complete=True)
    assert max(cv2.imread(str(path)).shape) <= 2400


@pytest.mark.parametrize("before", ["", "what was there\n"], ids=["new", "appended to"])
def test_a_file_that_a_shell_has_opened(before: str, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(before)
    with path.open("a") as stream:
        output = open_output(f"csv:/dev/fd/{stream.fileno()}")
        output.write(Frame(0, 0.0, np.zeros((9, 9, 3), np.uint8)), [Track((1, 1, 5, 5), 1.0, TrackState.TRACKED)])
        output.close(complete=True)
        inode = os.fstat(stream.fileno()).st_ino
    assert path.stat().st_ino == inode
    assert path.read_text().startswith(before + "index,")
    assert len(path.read_text().splitlines()) == 2 + bool(before)


def test_annotation_draws_on_a_copy() -> None:
    picture = annotate(IMAGE, [TRACK])
    assert (IMAGE == 90).all()
    assert picture.shape == IMAGE.shape
    assert (picture != 90).any()


@pytest.mark.parametrize("box", [(-1e6, -1e6, 3.0, 3.0), (0.0, 0.0, 1e5, 1e5), (60.0, 40.0, 10.0, 10.0)])
def test_annotation_survives_any_box(box: tuple[float, float, float, float]) -> None:
    assert annotate(IMAGE, [Track(box, 0.5, TrackState.LOST)]).shape == IMAGE.shape


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mot", "mp4", "png"])
def test_an_incomplete_output_does_not_bear_its_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"o.{kind}"
    output = make(kind, path)
    for frame in frames():
        output.write(frame, [TRACK])
    output.close(complete=False)
    output.close(complete=True)  # a second close changes nothing
    assert [p.name for p in tmp_path.iterdir()] == [f"o.partial.{kind}"]
    if kind == "mp4":
        assert count_frames(tmp_path / "o.partial.mp4") == 3
    elif kind == "png":
        assert cv2.imread(str(tmp_path / "o.partial.png")) is not None
    elif kind == "mot":
        assert len((tmp_path / "o.partial.mot").read_text().splitlines()) == 3
    else:
        assert "UNCERTAIN" in (tmp_path / f"o.partial.{kind}").read_text()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mot", "mp4", "png"])
def test_an_output_without_a_frame_leaves_nothing(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path / f"o.{kind}").close(complete=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mot", "mp4", "png"])
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
        output.write(frames()[0], [TRACK])
    with pytest.raises(OutputError, match="No space left"):
        output.close(complete=False)


def test_time_stamps_are_the_sources(tmp_path: Path) -> None:
    """A rate that varies, gaps, and times closer together than the nominal rate."""
    times = [0.0, 0.04, 0.0413, 0.5, 0.5001, 7.0]
    for suffix in (".mp4", ".mkv"):
        path = tmp_path / f"o{suffix}"
        output = VideoOutput(path, 25.0)
        for index, time_s in enumerate(times):
            output.write(Frame(index, time_s, IMAGE), [TRACK])
        output.close(complete=True)
        np.testing.assert_allclose(times_of(path), times, atol=1e-3 if suffix == ".mkv" else 1e-4)


def test_a_video_is_h264_that_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "o.mp4"
    output = VideoOutput(path, 25.0)
    for frame in frames(5):
        output.write(frame, [TRACK])
    output.close(complete=True)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx(5 / 25)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index first


def test_colours_come_back_as_they_went_in(tmp_path: Path) -> None:
    path = tmp_path / "o.mp4"
    output = VideoOutput(path, 25.0)
    colours = {"red": (30, 30, 220), "green": (40, 200, 40), "blue": (220, 60, 30), "grey": (128, 128, 128)}
    picture = np.zeros((64, 256, 3), np.uint8)
    for place, colour in enumerate(colours.values()):
        picture[:, 64 * place : 64 * place + 64] = colour
    output.write(Frame(0, 0.0, picture), [])
    output.close(complete=True)
    (frame,) = list(open_source(str(path)))
    for place, colour in enumerate(colours.values()):
        seen = frame.image[16:48, 64 * place + 16 : 64 * place + 48].reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(seen, colour, atol=6)


def test_several_targets(tmp_path: Path) -> None:
    others = [
        Track((1, 2, 3, 4), 0.5, TrackState.TRACKED, 'left, "first"'),
        Track((5, 6, 7, 8), 0.4, TrackState.LOST, "b"),
    ]
    for kind in ("jsonl", "csv", "mot"):
        output = make(kind, tmp_path / f"o.{kind}")
        for frame in frames(2):
            output.write(frame, others)
        output.close(complete=True)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(r["index"], r["target"]) for r in records] == [(i, t.target) for i in (0, 1) for t in others]
    with (tmp_path / "o.csv").open(newline="") as file:
        assert [row["target"] for row in csv.DictReader(file)] == 2 * [t.target for t in others]
    assert (tmp_path / "o.mot").read_text().splitlines() == [
        f"{frame},1,2.000,3.000,3.000,4.000,0.5000,-1,-1,-1" for frame in (1, 2)
    ]
    plain, labelled = annotate(IMAGE, others[:1]), annotate(IMAGE, others)
    assert (plain != labelled).any()


def test_a_live_frame_says_when_it_was_taken(tmp_path: Path) -> None:
    output = JsonLinesOutput(tmp_path / "o.jsonl")
    output.write(Frame(0, 0.0, IMAGE, taken_at=1700000000.1234), [TRACK])
    output.close(complete=True)
    assert json.loads((tmp_path / "o.jsonl").read_text())["taken_at"] == 1700000000.123


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("o.jsonl", JsonLinesOutput),
        ("o.JSONL", JsonLinesOutput),
        ("jsonl:o.csv", JsonLinesOutput),
        ("csv:o", CsvOutput),
        ("o.csv", CsvOutput),
        ("o.mot", MotOutput),
        ("mot:o.txt", MotOutput),
        ("o.mp4", VideoOutput),
        ("a:b.MKV", VideoOutput),
        ("o.png", ContactSheetOutput),
        ("o.jpeg", ContactSheetOutput),
        ("-", JsonLinesOutput),
        ("csv:-", CsvOutput),
    ],
)
def test_the_name_tells_the_kind(spec: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = open_output(spec)
    assert type(output) is kind
    output.close(complete=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spec", ["o", "o.txt", "o.gif", "", "a\0.csv", "ftp://host/o.xyz", "."])
def test_a_name_that_tells_no_kind_is_refused(spec: str) -> None:
    with pytest.raises(OutputError):
        open_output(spec)


def test_where_one_output_cannot_open_none_is_left(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        open_outputs([str(tmp_path / name) for name in ("a.mp4", "b.jsonl", "c.png", "none/d.csv")])
    assert not list(tmp_path.iterdir())


def test_a_long_run_keeps_an_even_contact_sheet(tmp_path: Path) -> None:
    output = ContactSheetOutput(tmp_path / "o.png")
    for index in range(1000):
        output.write(Frame(index, index / 25, IMAGE), [])
    assert len(output._tiles) <= 30
    output.close(complete=True)
    sheet = cv2.imread(str(tmp_path / "o.png"))
    assert sheet is not None
    assert sheet.shape[0] <= 5 * 180
