"""From what a user writes to a source: one table of patterns, read from the top."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_tracker.errors import SourceMissing, refused
from edge_tracker.video.camera import CameraSource
from edge_tracker.video.capture import parsed_camera
from edge_tracker.video.files import STANDARD_INPUT, FileSource
from edge_tracker.video.gstreamer import GStreamerSource
from edge_tracker.video.images import (
    IMAGE_SUFFIXES,
    ImageSource,
    PagesSource,
    images_in,
    is_pattern,
    is_webp,
    matching,
    pictures_in,
)
from edge_tracker.video.picamera2 import Picamera2Source
from edge_tracker.video.rpicam import RpicamSource
from edge_tracker.video.source import Source
from edge_tracker.video.stream import StreamSource, check_protocol
from edge_tracker.video.urls import masked

Factory = Callable[[str, float | None, int], Source]
LOCAL_CAMERA = r"(?:camera:-?[0-9]+|/dev/video[0-9]+|/dev/v4l/by-[^?]+|[0-9]+)(?:\?.*)?"
LOCAL = rf"{LOCAL_CAMERA}|(?:picamera2|rpicam|gst):.*"
# A file on a web server has an end; what else comes by HTTP is a camera's.
LIVE = rf"{LOCAL}|(?!file:)(?!https?://[^?]*\.(?:mp4|m4v|mkv|mov|avi|webm)(?:\?.*)?$)[a-zA-Z][a-zA-Z0-9+.-]*://.*"


def open_source(spec: str, fps: float | None = None, threads: int = 1) -> Source:
    """Open what `spec` names: a file, a folder or glob of images, a URL, a camera, `-` for standard input.

    fps: frames per second of what has no clock. threads: of the video decoder.

    Raises SourceMissing that says what is wrong.
    """
    if "\0" in spec or not spec:
        raise SourceMissing("the name of the source is empty" if not spec else "a name cannot hold the character 0")
    for pattern, factory in SOURCES:
        if re.fullmatch(pattern, spec, re.DOTALL):
            with refused(SourceMissing, f"cannot open {masked(spec)}"):
                return factory(spec, fps, threads)
    raise AssertionError("the last pattern fits everything")


def check_source(spec: str) -> None:
    """Raise SourceMissing where it is plain from its name that `spec` can never be opened here. Opens nothing."""
    if not is_local(spec):
        check_protocol(spec)


def is_live(spec: str) -> bool:
    """Whether `spec` names what has no end: a camera, a stream."""
    return re.fullmatch(LIVE, spec, re.DOTALL | re.IGNORECASE) is not None and not _is_path(spec)


def is_local(spec: str) -> bool:
    """Whether `spec` names a camera of this machine: one that is not there now will not come by waiting."""
    return re.fullmatch(LOCAL, spec, re.DOTALL | re.IGNORECASE) is not None and not _is_path(spec)


def _is_path(spec: str) -> bool:
    """Whether what looks like a camera or a URL is a file or folder that is there: a folder named 0."""
    path = Path(spec)
    try:
        return path.is_dir() or (spec.isdecimal() and path.exists())
    except OSError:  # opening it will say what is wrong
        return False


def _camera(spec: str, fps: float | None, threads: int) -> Source:
    if _is_path(spec):
        return _path(spec, fps, threads)
    if spec.startswith("/dev/v4l/"):  # a link that stays where numbers change
        name, mark, query = spec.partition("?")
        if not Path(name).exists():
            raise SourceMissing(f"cannot open {name}: no such camera")
        spec = f"{Path(name).resolve()}{mark}{query}"
    number, settings = parsed_camera(re.sub(r"^(camera:|/dev/video|)(?=-?[0-9])", "camera:", spec))
    return CameraSource(number, settings)


def _local_url(spec: str, fps: float | None, threads: int) -> Source:
    return _path(re.sub("^file:(//)?", "", spec, flags=re.IGNORECASE), fps, threads)


def _path(spec: str, fps: float | None, threads: int) -> Source:
    path = Path(spec)
    shown = spec.encode("utf-8", "backslashreplace").decode()
    if path.is_dir():
        paths = images_in(path)
        if not paths:
            raise SourceMissing(f"folder {shown} holds no images ({', '.join(IMAGE_SUFFIXES)})")
        return ImageSource(paths, fps, shown)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return _image_file(path, fps, threads)
    if path.exists():  # a video file, a pipe
        return FileSource(spec, fps, threads)
    if is_pattern(spec):
        paths = matching(spec)
        if not paths:
            raise SourceMissing(f"no image matches {shown}")
        return ImageSource(paths, fps, shown)
    raise SourceMissing(f"no file or folder at {shown}")


def _image_file(path: Path, fps: float | None, threads: int) -> Source:
    data = np.fromfile(path, np.uint8)
    if pictures_in(data) == 1:
        return ImageSource([path], fps, str(path))
    if data[1:4].tobytes() == b"PNG":
        return FileSource(path, fps, threads, container="apng")
    assert is_webp(data) or data[:2].tobytes() in (b"II", b"MM")
    return PagesSource(path, fps)


# Without rtp:// and udp:// a local session description would be needed; FFmpeg takes them as they are.
SOURCES: tuple[tuple[str, Factory], ...] = (
    (re.escape(STANDARD_INPUT), lambda spec, fps, threads: FileSource(spec, fps, threads)),
    (LOCAL_CAMERA, _camera),
    (r"picamera2:.*", lambda spec, *_: Picamera2Source(spec)),
    (r"rpicam:.*", lambda spec, *_: RpicamSource(spec)),
    (r"gst:.*", lambda spec, *_: GStreamerSource(spec)),
    (r"file:.*", _local_url),
    (r"[a-zA-Z][a-zA-Z0-9+.-]*://.*", lambda spec, fps, threads: StreamSource(spec, fps, threads)),
    (r".*", _path),
)
