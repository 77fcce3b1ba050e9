"""Still images: folders, globs and patterns of them in natural order, and files that hold several pictures."""

from __future__ import annotations

import contextlib
import glob
import logging
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import SourceMissing, refused
from edge_tracker.recognise import mistaken
from edge_tracker.video.opencv import quiet_opencv
from edge_tracker.video.pictures import Stretch
from edge_tracker.video.source import NOMINAL_FPS, Frame, Source

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2")
ANY_DEPTH = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
PAGES = 16  # read at a time from a file of many: memory stays flat, and not every page is a fresh start

log = logging.getLogger(__name__)


class ImageSource(Source):
    """Image files, one frame each, in the order given, `fps` frames per second."""

    def __init__(self, paths: Iterable[Path], fps: float | None = None, name: str = "images") -> None:
        self.paths = tuple(paths)
        self.name = name
        self.length = len(self.paths)
        self.fps = fps or NOMINAL_FPS

    def __iter__(self) -> Iterator[Frame]:
        stretch = Stretch()
        for index, path in enumerate(self.paths):
            data = _bytes_of(path)
            if index == 0 and pictures_in(data) > 1:
                log.warning("%s holds several pictures: only the first is taken; give it alone for all", path)
            yield Frame(index, index / self.fps, _decoded(data, path, stretch))


class PagesSource(Source):
    """One TIFF of many pages, or one animated WebP: a frame per picture."""

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.paths = (path,)
        self.name = str(path)
        self._data = _bytes_of(path)
        self.length = pictures_in(self._data)
        self._animated = is_webp(self._data)
        shown_ms = int(_animation(self._data, 0, 2, path).durations[0]) if self._animated else 0
        self._own_clock = shown_ms > 0 and fps is None
        self.fps = 1000 / shown_ms if self._own_clock else fps or NOMINAL_FPS

    def __iter__(self) -> Iterator[Frame]:
        stretch = Stretch()
        time_s, index, size = 0.0, 0, None
        for start in range(0, self.length or 0, PAGES):
            for image, duration_s in self._pages(start):
                if size is not None and image.shape[:2] != size:
                    log.warning("%s: page %d has another size: it and all after it are left out", self.name, index + 1)
                    return
                size = image.shape[:2]
                yield Frame(index, time_s, _bgr(stretch(image)))
                index += 1
                time_s = time_s + max(float(duration_s), 0.001) if self._own_clock else index / self.fps

    def _pages(self, start: int) -> Iterator[tuple[NDArray[Any], float]]:
        (path,) = self.paths
        count = min(PAGES, (self.length or 0) - start)
        if self._animated:
            animation = _animation(self._data, start, count, path)
            yield from zip(animation.frames, (ms / 1000 for ms in animation.durations), strict=True)
            return
        with quiet_opencv():
            ok, pages = cv2.imdecodemulti(self._data, ANY_DEPTH, range=(start, start + count))
            if not ok:
                ok, pages = cv2.imdecodemulti(self._data, cv2.IMREAD_UNCHANGED, range=(start, start + count))
        if not ok or len(pages) != count:
            raise SourceMissing(f"{path}: page {start + 1} and those after it cannot be decoded")
        for page in pages:
            yield page, 1 / self.fps


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 (H, W, 3) BGR, upright; deeper ones are stretched over their own range.

    Raises SourceMissing.
    """
    return _decoded(_bytes_of(path), path, Stretch())


def images_in(folder: Path) -> list[Path]:
    """The images of a folder in natural order, without hidden files (macOS leaves `._` companions on cards)."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in found if not p.is_dir()), key=natural)


def natural(path: Path) -> tuple[list[str | int], str]:
    """Sort key in which runs of digits count as numbers: 2 before 10; padded names as before."""
    text = str(path)
    parts: list[str | int] = [int(p) if p.isdecimal() else p for p in re.split(r"([0-9]+)", text)]
    return parts, text


def matching(pattern: str) -> list[Path]:
    """The images that a glob (`*`, `?`, `[...]`, `**`) or a printf pattern (`%04d`) names, in natural order."""
    path = Path(pattern)
    if re.search(r"%0?[0-9]*d", path.name):
        parts = re.split(r"%0?[0-9]*d", path.name.replace("%%", "%"))
        name = re.compile("[0-9]+".join(map(re.escape, parts)))
        found = [p for p in path.parent.glob("*") if name.fullmatch(p.name)]
    elif path.parent.is_dir():  # brackets in the name of a folder that is there are its own
        found = [Path(p) for p in glob.glob(str(Path(glob.escape(str(path.parent))) / path.name))]
    else:
        found = [Path(p) for p in glob.glob(pattern, recursive=True)]
    return sorted((p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()), key=natural)


def is_pattern(text: str) -> bool:
    return glob.has_magic(text) or re.search(r"%0?[0-9]*d", text) is not None


def is_webp(data: NDArray[np.uint8]) -> bool:
    return data[:4].tobytes() == b"RIFF" and data[8:12].tobytes() == b"WEBP"


def pictures_in(data: NDArray[np.uint8]) -> int:
    """How many pictures an image file holds, by its structure: pages of a TIFF, frames of an animated WebP or PNG."""
    head = data[:32].tobytes()
    try:
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_pages(data, "<" if head[:2] == b"II" else ">")
        if is_webp(data) and head[12:16] == b"VP8X" and head[20] & 2:
            return _chunks(data, b"ANMF")
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            start = data[:65536].tobytes()
            place = start.find(b"acTL")
            if 0 <= place < start.find(b"IDAT"):
                return int.from_bytes(start[place + 4 : place + 8], "big")
    except (struct.error, IndexError):
        pass
    return 1


def _tiff_pages(data: NDArray[np.uint8], order: str) -> int:
    """Full-size pages of a classic TIFF (TIFF 6.0, section 2), previews (NewSubfileType 1) not counted."""
    (place,) = struct.unpack(order + "I", data[4:8].tobytes())
    seen: set[int] = set()
    pages = 0
    while place and place not in seen and place + 2 <= len(data):
        seen.add(place)
        (entries,) = struct.unpack(order + "H", data[place : place + 2].tobytes())
        preview = False
        for k in range(entries):
            tag, kind, _, value = struct.unpack(
                order + "HHII", data[place + 2 + 12 * k : place + 14 + 12 * k].tobytes()
            )
            preview |= tag == 254 and kind == 4 and bool(value & 1)
        pages += not preview
        (place,) = struct.unpack(order + "I", data[place + 2 + 12 * entries : place + 6 + 12 * entries].tobytes())
    return max(pages, 1)


def _chunks(data: NDArray[np.uint8], kind: bytes) -> int:
    """How many chunks of `kind` a RIFF file holds."""
    place, count = 12, 0
    while place + 8 <= len(data):
        name, size = struct.unpack("<4sI", data[place : place + 8].tobytes())
        count += name == kind
        place += 8 + size + size % 2
    return count


def _animation(data: NDArray[np.uint8], start: int, count: int, path: Path) -> Any:
    if not hasattr(cv2, "imdecodeanimation"):
        raise SourceMissing(f"{path} is animated, which needs OpenCV 4.12 or later: update it, or convert to a video")
    with quiet_opencv():
        ok, animation = cv2.imdecodeanimation(data, start=start, count=count)
    if not ok or not len(animation.frames):
        raise SourceMissing(f"{path} is not an animation that can be decoded")
    return animation


def _bytes_of(path: Path) -> NDArray[np.uint8]:
    # OpenCV is handed bytes, not names: it ends the process at a name that is no UTF-8.
    with refused(SourceMissing, f"cannot read {path}"):
        return np.fromfile(path, np.uint8)


def _decoded(data: NDArray[np.uint8], path: Path, stretch: Stretch) -> NDArray[np.uint8]:
    image = None
    # Float TIFF of one channel is read only as it is.
    for flags in (ANY_DEPTH, cv2.IMREAD_UNCHANGED) if len(data) else ():
        # cv2.error: more pixels than OpenCV takes, for example
        with quiet_opencv(), contextlib.suppress(cv2.error):
            image = cv2.imdecode(data, flags)
        if image is not None:
            break
    if image is None:
        reason = mistaken(path) or "it is no image that can be decoded"
        raise SourceMissing(f"{path} is not an image: {reason}")
    return _bgr(stretch(image))


def _bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3])
