"""The installed command in a process of its own, against what users and machines do to it.

No traceback may reach the user, and no partial file may look whole.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_tracker.backbones.catalogue import PACKAGED
from tests.conftest import Clip, write_no_video, write_video
from tests.footage import count_frames


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "edge_tracker", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def assert_one_line_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done
    lines = [line for line in done.stderr.splitlines() if line.startswith("edge-track: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("kind", ["missing", "text", "empty file", "noise", "cut before its index", "empty folder"])
def test_a_source_that_is_none(kind: str, tmp_path: Path, clip: Clip) -> None:
    source = tmp_path / "input.mp4"
    write_no_video(source, kind)
    done = command("--source", source, "--init", clip.init, "--output", tmp_path / "o.jsonl")
    assert_one_line_error(done, "input.mp4")
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize("box", ["10,10,0,20", "10,10,20,-5", "nan,10,20,20", "inf,0,5,5", "5000,10,20,20"])
def test_a_box_that_is_none(box: str, video: Path, tmp_path: Path) -> None:
    done = command("--source", video, "--init", box, "--output", tmp_path / "o.mp4", "--output", tmp_path / "o.csv")
    assert_one_line_error(done, "box")
    assert not list(tmp_path.iterdir())


def test_a_truncated_video_keeps_its_tracks_and_fails(tmp_path: Path, clip: Clip) -> None:
    source = tmp_path / "cut.avi"
    write_video(source, clip.images[:60], "MJPG")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    done = command("--source", source, "--init", clip.init, "--output", tmp_path / "o.jsonl")
    assert_one_line_error(done, "truncated")
    assert not (tmp_path / "o.jsonl").exists()
    lines = (tmp_path / "o.partial.jsonl").read_text().splitlines()
    assert len(lines) >= 20
    assert all(json.loads(line)["box"] for line in lines)


def test_a_frame_size_that_changes_is_followed(tmp_path: Path, clip: Clip) -> None:
    for index, image in enumerate(clip.images[:8]):
        shown = image if index < 4 else cv2.resize(image, (480, 360))
        cv2.imwrite(str(tmp_path / f"{index}.png"), shown)
    done = command(
        "--source", tmp_path, "--init", clip.init, "--output", tmp_path / "o.mp4", "--output", "-", "--quiet"
    )
    assert done.returncode == 0, done
    box = json.loads(done.stdout.splitlines()[-1])["box"]
    np.testing.assert_allclose(box[0] + box[2] / 2, 1.5 * (clip.boxes[7, 0] + clip.boxes[7, 2] / 2), atol=12)


@pytest.mark.parametrize("content", ["empty", "cut", "text"])
def test_a_broken_model(content: str, video: Path, clip: Clip, tmp_path: Path) -> None:
    from edge_tracker.backbones.catalogue import PACKAGED

    model = tmp_path / "model.onnx"
    data = (PACKAGED / "edge-small.onnx").read_bytes()
    model.write_bytes({"empty": b"", "cut": data[:2000], "text": b"hello"}[content])
    assert_one_line_error(command("--source", video, "--init", clip.init, "--model", model), "model.onnx")


def test_an_unwritable_output(video: Path, clip: Clip, tmp_path: Path) -> None:
    for name in ("o.mp4", "o.jsonl", "o.csv", "o.mot", "o.png"):
        done = command("--source", video, "--init", clip.init, "--output", tmp_path / "none" / name)
        assert_one_line_error(done, name)
    done = command("--source", video, "--init", clip.init, "--output", tmp_path / "a.jsonl", "--output", tmp_path)
    assert_one_line_error(done, "folder")
    assert not (tmp_path / "a.jsonl").exists()


def small_disk() -> None:
    """Let no file grow beyond 16 kB, as on a full disk (but with another errno)."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))


@pytest.mark.parametrize("name", ["o.jsonl", "o.avi", "o.mp4", "o.mkv", "o.png"])
def test_a_disk_that_fills_up(name: str, tmp_path: Path, clip: Clip) -> None:
    source = tmp_path / "long.avi"
    write_video(source, clip.images + clip.images, "MJPG")
    done = command("--source", source, "--init", clip.init, "--output", tmp_path / name, preexec_fn=small_disk)
    assert_one_line_error(done, name.split(".")[0])
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["", "ball="], ids=["alone", "named"])
def test_a_signal_keeps_what_was_tracked(name: str, number: signal.Signals, tmp_path: Path, clip: Clip) -> None:
    for index, image in enumerate(clip.images):
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), image)
    fifo = tmp_path / "pipe.csv"  # nobody reads it on, so the run waits for us
    os.mkfifo(fifo)
    arguments = ["--source", str(tmp_path), "--init", name + clip.init, "--output", str(tmp_path / "o.jsonl")]
    arguments += ["--output", str(tmp_path / "o.mp4")]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_tracker", *arguments, "--output", str(fifo)],
        stderr=subprocess.PIPE,
        text=True,
    )
    with fifo.open() as reader:
        for _ in range(5):
            reader.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal reached it")
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert not (tmp_path / "o.jsonl").exists()
    assert len((tmp_path / "o.partial.jsonl").read_text().splitlines()) >= 4
    assert count_frames(tmp_path / "o.partial.mp4") >= 4


def test_ctrl_c_while_the_program_is_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    (script,) = entry_points(group="console_scripts", name="edge-track")

    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "edge_tracker.cli":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    for name in [name for name in sys.modules if name.startswith("edge_tracker.cli")]:
        monkeypatch.delitem(sys.modules, name)
    assert script.load()() == 130


@pytest.mark.parametrize("what", ["model", "output", "device", "notes"])
def test_a_state_that_is_something_else(what: str, tmp_path: Path) -> None:
    model, out, nowhere, notes = (tmp_path / name for name in ("m.onnx", "o.jsonl", "nowhere", "notes.txt"))
    shutil.copy(PACKAGED / "edge-small.onnx", model)
    out.write_text("older\n")
    nowhere.symlink_to("/dev/null")
    notes.write_text("mine\n")
    state = {"model": model, "output": out, "device": nowhere, "notes": notes}[what]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = command("--source", "rtsp://127.0.0.1:9/x", "--model", model, "--state", state, "--output", out)
    assert_one_line_error(done, "cannot keep the state" if what == "device" else "it is left as it is")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert nowhere.is_symlink()


def test_a_state_for_a_file_is_refused(video: Path, clip: Clip, tmp_path: Path) -> None:
    done = command("--source", video, "--init", clip.init, "--state", tmp_path / "state.json")
    assert_one_line_error(done, "every source is a file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_standard_files_that_are_closed(closed: tuple[int, ...], video: Path, clip: Clip, tmp_path: Path) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    out = tmp_path / "o.csv"
    arguments = ["--source", str(video), "--init", f"a={clip.init}", "--output", "-", "--output", str(out)]
    command = [sys.executable, "-m", "edge_tracker", *arguments]
    done = subprocess.run(command, capture_output=True, preexec_fn=close, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    rows = out.read_text().splitlines()
    assert len(rows) == 31
    assert all(row.count(",") == 8 for row in rows)


def test_a_reader_that_goes_away_is_no_traceback(video: Path, clip: Clip) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_tracker", "--source", str(video), "--init", clip.init, "--output", "-", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    time.sleep(0.1)
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(timeout=60) in (0, 141)
    assert said == ""
