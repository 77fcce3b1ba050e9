"""Tracks as text: one JSON object per line, or CSV."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO

from edge_tracker.outputs.base import PartialFile, cannot_write
from edge_tracker.track import Track
from edge_tracker.video.sources import Frame

CSV_HEADER = ("index", "time_s", "x", "y", "w", "h", "confidence", "state")


class _TextOutput:
    """A text file whose lines are flushed one by one, so that what was tracked survives whatever happens."""

    def __init__(self, path: str | Path) -> None:
        self._file: PartialFile | None = None
        self._stream: IO[str]
        if str(path) == "-":
            self._stream = sys.stdout
            return
        self._file = PartialFile(Path(path))
        try:
            self._stream = open(self._file.partial, "w", encoding="utf-8", newline="")
        except OSError as error:
            raise cannot_write(Path(path), error) from error

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            raise cannot_write(self._file.path if self._file else Path("standard output"), error) from error

    def close(self, complete: bool) -> None:
        if self._file is None or self._stream.closed:
            return
        try:
            self._stream.close()
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._file.finish(complete)


class JsonLinesOutput(_TextOutput):
    """One line per frame: {"index", "time_s", "box": [x, y, w, h], "confidence", "state"}. "-" is standard output."""

    def write(self, frame: Frame, track: Track) -> None:
        record = {
            "index": frame.index,
            "time_s": round(frame.time_s, 6),
            "box": [round(v, 3) for v in track.box],
            "confidence": round(track.confidence, 4),
            "state": track.state.value,
        }
        self._put(json.dumps(record) + "\n")


class CsvOutput(_TextOutput):
    """Columns CSV_HEADER, one row per frame. "-" is standard output."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._put(",".join(CSV_HEADER) + "\n")

    def write(self, frame: Frame, track: Track) -> None:
        values = (frame.time_s, *track.box, track.confidence)
        self._put(",".join([str(frame.index), *(f"{v:.4f}" for v in values), track.state.value]) + "\n")
