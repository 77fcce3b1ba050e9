"""Footage for tests, made at test time: the base clip, and what ffmpeg makes of it."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.boxes import iou
from edge_tracker.cli import main

INIT = "138,98,44,44"


def ffmpeg(folder: Path, command: str) -> None:
    """Run ffmpeg in `folder`; skips the test where there is none."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    words = command.split(" ")
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-y", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def probe(path: Path) -> list[float]:
    """The presentation times of all frames, seconds, as ffprobe has them."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time"]
    done = subprocess.run([*command, "-of", "json", str(path)], capture_output=True, text=True, check=True)
    frames = json.loads(done.stdout)["frames"]  # the last ones of an AVI have no time
    return [float(frame["best_effort_timestamp_time"]) for frame in frames if "best_effort_timestamp_time" in frame]


def times_of(path: Path) -> list[float]:
    """The times of all frames of a video of ours, seconds, as PyAV reads them."""
    with av.open(f"file:{path.absolute()}") as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def count_frames(path: Path) -> int:
    return len(times_of(path))


@dataclass(frozen=True)
class Run:
    """What `edge-track` made of a source."""

    code: int
    lines: list[dict[str, Any]]
    said: str
    partial: bool  # the lines lie under the name of what is not whole

    @property
    def times(self) -> NDArray[np.float64]:
        return np.array([line["time_s"] for line in self.lines])

    @property
    def boxes(self) -> NDArray[np.float64]:
        return np.array([line["box"] for line in self.lines])

    @property
    def errors(self) -> list[str]:
        return [line for line in self.said.splitlines() if line.startswith("edge-track: ")]


class _Warned(logging.Handler):
    """Takes the warnings that the command would print: under pytest, logging is set up before it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"edge-track: {record.getMessage()}\n"


class Bench:
    """A folder with the base clip of 60 frames (`base/0000.png` ..., `base.mp4`) and its truth."""

    def __init__(self, folder: Path, clip: Any, base: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd
        self.truth: NDArray[np.float64] = clip.boxes[:60]
        self.images: list[NDArray[np.uint8]] = clip.images[:60]
        self._base = base
        (folder / "base").symlink_to(base)

    def ffmpeg(self, command: str) -> None:
        if " base.mp4" in command and not (self.folder / "base.mp4").exists():
            self.base_mp4()
        ffmpeg(self.folder, command)

    def base_mp4(self, name: str = "base.mp4") -> Path:
        path = self.folder / name
        kept = self._base / "base.mp4"
        if not kept.exists():
            ffmpeg(self._base, "-framerate 30 -i %04d.png -c:v libx264 -crf 12 -pix_fmt yuv420p base.mp4")
        shutil.copy(kept, path)
        return path

    def track(self, source: str | Path, *options: str, init: str = INIT) -> Run:
        """`edge-track --source SOURCE` in this process, with its lines in o.jsonl."""
        for old in self.folder.glob("o*.jsonl"):
            old.unlink()
        self._capfd.readouterr()
        output = self.folder / "o.jsonl"
        arguments = ["--source", str(source), "--init", init, "--quiet", "--tracker", "fast", "--output", str(output)]
        warned = _Warned()
        logging.getLogger().addHandler(warned)
        try:
            code = main([*arguments, *options])
        except SystemExit as error:  # argparse's
            code = int(error.code or 0)
        finally:
            logging.getLogger().removeHandler(warned)
        partial = not output.exists()
        path = self.folder / "o.partial.jsonl" if partial else output
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return Run(code, lines, self._capfd.readouterr().err + warned.text, partial)

    def overlap(self, run: Run) -> float:
        """Mean IoU with the truth, frame by frame."""
        return float(iou(run.boxes, self.truth[: len(run.lines)]).mean())

    def write(self, folder: str, name: Callable[[int], str], count: int = 60) -> Path:
        """Frames as images under names of one's own."""
        (self.folder / folder).mkdir()
        for index, image in enumerate(self.images[:count]):
            cv2.imwrite(str(self.folder / folder / name(index)), image)
        return self.folder / folder
