"""Outputs that fill a folder, file after file, and throw the oldest away: logs of JSON lines, and recordings."""

from __future__ import annotations

import collections
import contextlib
import errno
import io
import itertools
import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import cv2
import numpy as np

from edge_tracker.errors import EdgeTrackerError, OutputError
from edge_tracker.files import partial_path
from edge_tracker.images import as_bgr
from edge_tracker.outputs.base import Output, ResultFile, cannot_write, shown
from edge_tracker.outputs.records import JsonLinesOutput
from edge_tracker.outputs.video import VideoOutput
from edge_tracker.settings import Above, AtLeast, Between, assign, check
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame

AGAIN_S = 5.0  # after a file could not be begun
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogSettings:
    """When a log of JSON lines begins another file."""

    megabytes: Annotated[float, Above(0), "of a file"] = 10.0
    hours: Annotated[float, Above(0), "of a file"] = 24.0
    files: Annotated[int, Between(1, 100_000), "kept, the newest"] = 14

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RecordSettings:
    """What of a camera is recorded."""

    before: Annotated[float, Between(0, 60), "seconds before a target was TRACKED"] = 3.0
    after: Annotated[float, AtLeast(0), "seconds after none is any more"] = 3.0
    minutes: Annotated[float, Above(0), "of a file; then another begins"] = 10.0
    files: Annotated[int, Between(1, 100_000), "kept, the newest"] = 100
    drawn: Annotated[bool, "whether boxes are drawn in"] = True

    def __post_init__(self) -> None:
        check(self)


class LogOutput:
    """JSON lines (`records.JsonLinesOutput`) in `FOLDER/CAMERA-YYYYMMDD-HHMMSS.jsonl`: `log:FOLDER[?option=value&...]`,
    options those of `LogSettings`."""

    def __init__(self, place: str, camera: str = "camera") -> None:
        path, self.settings = placed(place, LogSettings)
        self._folder = _Folder(path, f"{file_name(camera)}-", ".jsonl", self.settings.files)
        self._lines = JsonLinesOutput("-")  # for its lines alone
        self._file: ResultFile | None = None
        self._stream: io.FileIO | None = None
        self._begun_at = 0.0

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        if not tracks:
            return
        if self._stream is not None and self._is_full(frame):
            self._finish()
        if self._stream is None:
            self._begin(frame)
        data = "".join(self._lines.line(frame, track) for track in tracks).encode()
        assert self._stream is not None
        assert self._file is not None
        whole = self._stream.tell()
        try:
            if self._stream.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:  # half a line must not stay; what follows goes into another file
            with contextlib.suppress(OSError):
                self._stream.truncate(whole)
            path = self._file.path
            self._finish()
            raise cannot_write(path, error) from error

    def close(self, complete: bool) -> None:
        self._finish()

    def _begin(self, frame: Frame) -> None:
        self._file = ResultFile(self._folder.next())
        try:
            self._stream = self._file.partial.open("wb", buffering=0)
        except OSError as error:
            raise cannot_write(self._file.path, error) from error
        self._begun_at = frame.time_s

    def _is_full(self, frame: Frame) -> bool:
        assert self._stream is not None
        assert self._file is not None
        gone = not self._file.partial.exists()  # somebody took it away
        old = frame.time_s - self._begun_at >= self.settings.hours * 3600
        return gone or old or self._stream.tell() >= self.settings.megabytes * 1e6

    def _finish(self) -> None:
        stream, self._stream = self._stream, None
        if stream is None or self._file is None:
            return
        empty = stream.tell() == 0
        try:
            stream.close()
            self._file.finish(complete=True, empty=empty)
        except (OSError, OutputError) as error:
            log.warning("%s", error)
        self._folder.tidy()


class RecordOutput:
    """A video for each time that a target is TRACKED: `record:FOLDER[?option=value&...]`, options those of
    `RecordSettings`. The seconds before are kept as JPEG in memory until they are needed."""

    def __init__(self, place: str, camera: str = "camera", fps: float = 30.0) -> None:
        path, self.settings = placed(place, RecordSettings)
        self._folder = _Folder(path, f"{file_name(camera)}-", ".mp4", self.settings.files)
        self._fps = fps
        self._before: collections.deque[tuple[Frame, bytes, list[Track]]] = collections.deque()
        self._video: Output | None = None
        self._begun_s = self._seen_s = 0.0
        self._failed_s, self._failure = -AGAIN_S, EdgeTrackerError("")

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        tracked = any(track.state is TrackState.TRACKED for track in tracks)
        if tracked:
            self._seen_s = frame.time_s
        if self._video is not None:
            too_long = frame.time_s - self._begun_s >= self.settings.minutes * 60
            if too_long or frame.time_s - self._seen_s > self.settings.after:
                self._finish()
        if self._video is None and tracked:
            if frame.time_s - self._failed_s < AGAIN_S:
                self._keep(frame, tracks)
                raise self._failure
            self._begin(frame)
        if self._video is not None:
            self._put(self._video, frame, tracks)
        else:
            self._keep(frame, tracks)

    def close(self, complete: bool) -> None:
        self._finish()

    def _begin(self, frame: Frame) -> None:
        try:
            video = VideoOutput(self._folder.next(), self._fps)
        except EdgeTrackerError as error:
            self._failed_s, self._failure = frame.time_s, error
            raise
        self._video = video
        self._begun_s = self._before[0][0].time_s if self._before else frame.time_s
        for kept, jpeg, tracks in self._before:
            image = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
            self._put(video, Frame(kept.index, kept.time_s, image, kept.taken_at), tracks)
        self._before.clear()

    def _put(self, video: Output, frame: Frame, tracks: Sequence[Track]) -> None:
        """Write a frame, its time counted from the file's first."""
        try:
            moved = Frame(frame.index, frame.time_s - self._begun_s, frame.image, frame.taken_at)
            video.write(moved, list(tracks) if self.settings.drawn else [])
        except EdgeTrackerError as error:
            self._failed_s, self._failure = frame.time_s, error
            self._video = None
            with contextlib.suppress(EdgeTrackerError):  # the same
                video.close(complete=False)
            self._folder.tidy()
            raise

    def _keep(self, frame: Frame, tracks: Sequence[Track]) -> None:
        if self.settings.before == 0:
            return
        _, data = cv2.imencode(".jpg", as_bgr(frame.image), [cv2.IMWRITE_JPEG_QUALITY, 90])
        empty = Frame(frame.index, frame.time_s, np.empty((0, 0, 3), np.uint8), frame.taken_at)
        self._before.append((empty, data.tobytes(), list(tracks)))
        while self._before and self._before[0][0].time_s < frame.time_s - self.settings.before:
            self._before.popleft()

    def _finish(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close(complete=True)
            self._folder.tidy()


class _Folder:
    """Names for new files, and the end of the oldest. Only names that it gave itself are ever deleted."""

    def __init__(self, path: Path, prefix: str, suffix: str, most: int) -> None:
        if not path.is_dir():
            raise OutputError(f"cannot write into {shown(path)}: there is no such folder")
        self._path, self._prefix, self._suffix, self._most = path, prefix, suffix, most
        self._given: list[str] = []  # names, in order: a clock that was set back does not make the newest the oldest

    def next(self) -> Path:
        stem = self._prefix + time.strftime("%Y%m%d-%H%M%S")
        for number in itertools.count(1):
            path = self._path / (f"{stem}{self._suffix}" if number == 1 else f"{stem}-{number}{self._suffix}")
            if not path.exists() and not partial_path(path).exists():
                self._given = [*self._given[1 - self._most :], path.name]
                return path
        raise AssertionError

    def tidy(self) -> None:
        pattern = f"{self._prefix}{'[0-9]' * 8}-{'[0-9]' * 6}*{self._suffix}"
        try:
            for old in sorted(self._path.glob(pattern), key=self._age)[: -self._most]:
                old.unlink()
        except OSError as error:
            log.warning("old files in %s stay: %s", self._path, error)

    def _age(self, path: Path) -> tuple[int, int]:
        given = self._given.index(path.name) if path.name in self._given else -1
        return given, path.stat().st_mtime_ns


def placed(place: str, kind: type[T]) -> tuple[Path, T]:
    """Path and settings of `FOLDER[?option=value&...]`. Raises ConfigError."""
    folder, _, query = place.partition("?")
    return Path(folder), assign(kind(), [f"{name}={text}" for name, text in parse_qsl(query, keep_blank_values=True)])


def file_name(camera: str) -> str:
    """A camera's name as a part of a file's: it may be anything, a path too."""
    return re.sub(r"[^\w-]+", "_", camera).strip("_") or "camera"
