"""Tracks as text: one JSON object per line, CSV, or the rows of the MOT challenge."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edge_tracker.outputs.base import ResultFile, cannot_write
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame


class _TextOutput(ABC):
    """A text file, one line per track, flushed frame by frame so that what was tracked survives whatever happens.

    path: "-" is standard output. Where its reader goes away, BrokenPipeError is raised, which is no fault.
    """

    header = ""  # a first line, written with the first record

    def __init__(self, path: str | Path) -> None:
        self._file: ResultFile | None = None
        self._stream: IO[str] = sys.stdout
        self._started = False
        if str(path) == "-":
            return
        self._file = ResultFile(Path(path))
        try:
            self._stream = open(self._file.partial, self._file.mode, encoding="utf-8", newline="")
        except OSError as error:
            raise cannot_write(path, error) from error

    @abstractmethod
    def line(self, frame: Frame, track: Track) -> str:
        """The line of one track, with its line end; empty where there is nothing to say."""

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        text = "".join(self.line(frame, track) for track in tracks)
        try:
            self._stream.write(text if self._started else self.header + text)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._file.path if self._file else "standard output", error) from error
        self._started = True

    def close(self, complete: bool) -> None:
        if self._file is None or self._stream.closed:
            return
        try:
            self._stream.close()
        except BrokenPipeError:
            return
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._file.finish(complete, empty=not self._started)


class JsonLinesOutput(_TextOutput):
    """{"index", "time_s", "target", "box": [x, y, w, h], "confidence", "state"} per track; 0-based pixels.

    Live sources add "taken_at", the Unix time of capture. Where several targets take turns, one that had to wait adds
    "age", the frames since its box was looked for.
    """

    def line(self, frame: Frame, track: Track) -> str:
        taken_at = {} if frame.taken_at is None else {"taken_at": round(frame.taken_at, 3)}
        record = {
            "index": frame.index,
            "time_s": round(frame.time_s, 6),
            **taken_at,
            "target": track.target,
            "box": [round(v, 3) for v in track.box],
            "confidence": round(track.confidence, 4),
            "state": track.state.value,
            **({"age": track.age} if track.age else {}),
        }
        return json.dumps(record) + "\n"


class CsvOutput(_TextOutput):
    """A header line, then one row per track; 0-based pixels."""

    header = "index,time_s,target,x,y,w,h,confidence,state\n"

    def line(self, frame: Frame, track: Track) -> str:
        box = ",".join(f"{v:.4f}" for v in track.box)
        return (
            f"{frame.index},{frame.time_s:.6f},{_cell(track.target)},{box},{track.confidence:.4f},{track.state.value}\n"
        )


def _cell(text: str) -> str:
    """`text` as one cell of a CSV row (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


class MotOutput(_TextOutput):
    """The result format of the MOT challenge: frame, id, left, top, width, height, confidence, -1, -1, -1.

    Frames, ids and boxes are 1-based there. A target has no row where it is LOST: the format knows no states. Ids are
    given in the order in which targets appear.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._ids: dict[str, int] = {}

    def line(self, frame: Frame, track: Track) -> str:
        number = self._ids.setdefault(track.target, len(self._ids) + 1)
        if track.state is TrackState.LOST:
            return ""
        x, y, w, h = track.box
        return f"{frame.index + 1},{number},{x + 1:.3f},{y + 1:.3f},{w:.3f},{h:.3f},{track.confidence:.4f},-1,-1,-1\n"
