"""Frame sources. Each is an iterator of `Frame` that knows its length, where there is one, and closes itself."""

from __future__ import annotations

import glob
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import SourceError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
IMAGES_FPS = 30.0  # a folder of images has no clock: its frames are numbered at this nominal rate
OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 10_000, 10_000  # of a network stream, which could else hang for ever

# FFmpeg's own chatter on standard error, read by OpenCV when it first opens a video: our errors say it in one line.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True)
class Frame:
    """One picture of a source. `image` is uint8 (H, W, 3) BGR; `time_s` counts from the source's start."""

    index: int
    time_s: float
    image: NDArray[np.uint8]


class Source(ABC):
    """Iterates over frames once. Raises SourceError when it ends before it should."""

    length: int | None = None  # frames, None for a live source
    fps: float = IMAGES_FPS
    live: bool = False

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Release the device or file; may be called more than once."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ImageSource(Source):
    """Image files, in the order given."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.length = len(paths)

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            yield Frame(index, index / self.fps, read_image(path))


class CaptureSource(Source):
    """What OpenCV's VideoCapture opens: a video file, a network stream or a camera."""

    def __init__(self, target: str | int, name: str, live: bool) -> None:
        self.name = name
        self.live = live
        self._capture = _open_capture(target)
        if not self._capture.isOpened():
            raise SourceError(f"cannot open {name}: no {'such camera' if live else 'video that can be decoded'}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else IMAGES_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.length = int(count) if count > 0 and not live else None

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        start = time.monotonic()
        while True:
            ok, image = self._capture.read()
            if not ok:
                break
            yield Frame(index, self._time_s(index, start), np.asarray(image, dtype=np.uint8))
            index += 1
        self._check_ending(index)

    def _time_s(self, index: int, start: float) -> float:
        if self.live:
            return time.monotonic() - start
        position_s: float = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        # Some containers have no time stamps; the nominal rate is then all there is.
        return position_s if position_s > 0 else index / self.fps

    def _check_ending(self, frames: int) -> None:
        if frames == 0:
            raise SourceError(f"{self.name} gives no frame: it is empty or broken")
        if self.live:
            raise SourceError(f"{self.name} stopped delivering after {frames} frames")
        # A container may state its length from its duration, so a little less is no sign of damage.
        if self.length is not None and frames < 0.98 * self.length - 2:
            raise SourceError(f"{self.name} ends after {frames} of {self.length} frames: it is truncated or damaged")

    def close(self) -> None:
        self._capture.release()


def _open_capture(target: str | int) -> cv2.VideoCapture:
    # OpenCV 5 moved its log level; level 0 is silence in both.
    log: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        if isinstance(target, int):
            return cv2.VideoCapture(target)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
        return cv2.VideoCapture(target, cv2.CAP_FFMPEG, timeouts)
    finally:
        log.setLogLevel(level)


def open_source(spec: str) -> Source:
    """Open a video file, an image folder, a glob of images or a URL. Raises SourceError that says what is wrong."""
    if "://" in spec:
        return CaptureSource(spec, _without_password(spec), live=_is_live(spec))
    path = Path(spec)
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise SourceError(f"folder {spec} holds no images ({', '.join(IMAGE_SUFFIXES)})")
        return ImageSource(paths)
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageSource([path])
        return CaptureSource(str(path), spec, live=False)
    if glob.has_magic(spec):
        paths = [Path(p) for p in sorted(glob.glob(spec)) if Path(p).suffix.lower() in IMAGE_SUFFIXES]
        if not paths:
            raise SourceError(f"no image matches {spec}")
        return ImageSource(paths)
    raise SourceError(f"no file or folder at {spec}")


def open_camera(index: int) -> Source:
    """Open camera number `index`. Raises SourceError where there is none."""
    if index < 0:
        raise SourceError(f"cameras are numbered from 0, not {index}")
    return CaptureSource(index, f"camera {index}", live=True)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 (H, W, 3) BGR. Raises SourceError."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{path} is {'not an image that can be decoded' if path.is_file() else 'missing'}")
    return np.asarray(image, dtype=np.uint8)


def _is_live(url: str) -> bool:
    return url.split("://", 1)[0].lower() in ("rtsp", "rtsps", "rtmp", "rtp", "udp", "tcp", "srt")


def _without_password(url: str) -> str:
    scheme, rest = url.split("://", 1)
    host = rest.split("/", 1)[0]
    return f"{scheme}://{rest[host.rfind('@') + 1 :]}" if "@" in host else url
