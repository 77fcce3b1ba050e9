"""Tracks as text: one JSON object per line, or CSV."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO

from edge_tracker.outputs.base import PartialFile, cannot_write
from edge_tracker.track import Track
from edge_tracker.video.sources import Frame


class _TextOutput(ABC):
    """A text file, one line per frame, flushed line by line so that what was tracked survives whatever happens."""

    header = ""  # a first line, written with the first record

    def __init__(self, path: str | Path) -> None:
        self._file: PartialFile | None = None
        self._stream: IO[str] = sys.stdout
        self._started = False
        if str(path) == "-":
            return
        self._file = PartialFile(Path(path))
        try:
            self._stream = open(self._file.partial, "w", encoding="utf-8", newline="")
        except OSError as error:
            raise cannot_write(Path(path), error) from error

    @abstractmethod
    def line(self, frame: Frame, track: Track) -> str:
        """The line of one frame, with its line end."""

    def write(self, frame: Frame, track: Track) -> None:
        text = self.line(frame, track)
        try:
            self._stream.write(text if self._started else self.header + text)
            self._stream.flush()
        except OSError as error:
            raise cannot_write(self._file.path if self._file else Path("standard output"), error) from error
        self._started = True

    def close(self, complete: bool) -> None:
        if self._file is None or self._stream.closed:
            return
        try:
            self._stream.close()
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        if self._started:
            self._file.finish(complete)
        else:
            self._file.discard()


class JsonLinesOutput(_TextOutput):
    """One line per frame: {"index", "time_s", "box": [x, y, w, h], "confidence", "state"}. "-" is standard output."""

    def line(self, frame: Frame, track: Track) -> str:
        record = {
            "index": frame.index,
            "time_s": round(frame.time_s, 6),
            "box": [round(v, 3) for v in track.box],
            "confidence": round(track.confidence, 4),
            "state": track.state.value,
        }
        return json.dumps(record) + "\n"


class CsvOutput(_TextOutput):
    """A header line, then one row per frame. "-" is standard output."""

    header = "index,time_s,x,y,w,h,confidence,state\n"

    def line(self, frame: Frame, track: Track) -> str:
        values = (frame.time_s, *track.box, track.confidence)
        return ",".join([str(frame.index), *(f"{v:.4f}" for v in values), track.state.value]) + "\n"
