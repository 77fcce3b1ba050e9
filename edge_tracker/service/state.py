"""What is followed, kept across restarts: names, boxes and a small picture of each target, in one whole file."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.errors import OutputError, UsageError, refused
from edge_tracker.files import write_text, written_directly
from edge_tracker.service.targets import Targets, checked_name
from edge_tracker.settings import from_mapping
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame

SIDE_PX = 40  # of the kept picture's longer side
SMALLEST_PX = 4  # sides of a kept box, and of its picture
ALIKE = 0.6  # normalised correlation from which a place looks like the kept picture
LOOK_EVERY_S = 1.0
LARGEST = 1 << 20  # bytes of the file
BEGINNING = b'{"cameras":'  # of every state, blanks apart
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    name: str
    box: tuple[float, float, float, float]
    size: tuple[int, int]  # of the frame, width and height
    picture: Annotated[str, "PNG, base64: grey, at most SIDE_PX wide and high"]

    def grey(self) -> NDArray[np.uint8] | None:
        try:
            data = np.frombuffer(base64.b64decode(self.picture, validate=True), np.uint8)
        except (binascii.Error, ValueError):
            return None
        found = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
        return None if found is None or max(found.shape) > SIDE_PX else np.asarray(found, dtype=np.uint8)


class Remembered:
    """The file. One for all cameras; each is kept by its own thread. Raises OutputError where it cannot be the state's.

    A target comes back where the first pictures after a restart show what the kept picture shows, wherever in the frame
    that is; until then it is looked for once a second. Nothing is started on a place that merely was the last one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._cameras: dict[str, list[_Kept]] = {}
        self._waiting: dict[str, list[_Kept]] = {}
        self._looked: dict[str, float] = {}
        self._written = ""
        self._failed = False
        for camera, kept in _read(path).items():
            self._cameras[camera], self._waiting[camera] = kept, list(kept)

    def waiting(self, camera: str) -> list[str]:
        """Targets that are still looked for."""
        return [kept.name for kept in self._waiting.get(camera, [])]

    def restore(self, camera: str, frame: Frame, targets: Targets) -> bool:
        """Start those that `frame` shows again; whether any was."""
        waiting = self._waiting.get(camera)
        if not waiting or frame.time_s - self._looked.get(camera, -LOOK_EVERY_S) < LOOK_EVERY_S:
            return False
        self._looked[camera] = frame.time_s
        found = False
        for kept in list(waiting):
            box = find(kept, frame.image)
            if box is None:
                continue
            waiting.remove(kept)
            try:
                targets.add(frame.image, box, kept.name)
                found = True
                log.warning("%s: %s is followed again", camera, kept.name)
            except UsageError as error:
                log.warning("%s: %s is not followed again: %s", camera, kept.name, error)
        return found

    def keep(self, camera: str, image: NDArray[np.uint8] | None, tracks: Sequence[Track]) -> None:
        """Write what is followed, if it changed. A disk that refuses is told once, and tried again the next time."""
        with self._lock:
            known = {kept.name: kept for kept in self._cameras.get(camera, [])}
            now = [_kept(image, t, known.get(t.target)) for t in tracks] if image is not None else []
            self._cameras[camera] = [k for k in now if k is not None] + self._waiting.get(camera, [])
            cameras = {name: [vars(kept) for kept in each] for name, each in self._cameras.items()}
            text = json.dumps({"cameras": cameras}, indent=1) + "\n"
            if text == self._written and self._path.exists():  # somebody may have taken it away
                return
            try:
                write_text(self._path, text)
                self._written, self._failed = text, False
            except OutputError as error:
                if not self._failed:
                    log.error("what is followed cannot be kept: %s", error)
                self._failed = True


def find(kept: _Kept, image: NDArray[np.uint8]) -> Box | None:
    """Where `image` shows what was kept; None where nothing looks like it."""
    picture = kept.grey()
    if picture is None or min(picture.shape) < SMALLEST_PX:
        return None
    height, width = image.shape[:2]
    kx, ky = width / kept.size[0], height / kept.size[1]
    w, h = kept.box[2] * kx, kept.box[3] * ky
    shrink = picture.shape[1] / w, picture.shape[0] / h
    small = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(small, None, fx=shrink[0], fy=shrink[1], interpolation=cv2.INTER_AREA)
    if small.shape[0] < picture.shape[0] or small.shape[1] < picture.shape[1]:
        return None
    answer = cv2.matchTemplate(small, picture, cv2.TM_CCOEFF_NORMED)
    _, best, _, place = cv2.minMaxLoc(np.where(np.isfinite(answer), answer, -1.0))
    return (place[0] / shrink[0], place[1] / shrink[1], w, h) if best >= ALIKE else None


def _kept(image: NDArray[np.uint8], track: Track, before: _Kept | None) -> _Kept | None:
    """A target as it is kept: with its newest picture in which it was surely seen."""
    if track.state is not TrackState.TRACKED or track.age:
        return before
    height, width = image.shape[:2]
    x, y, w, h = track.box
    left, top, right, bottom = max(round(x), 0), max(round(y), 0), min(round(x + w), width), min(round(y + h), height)
    if min(right - left, bottom - top) < SMALLEST_PX:
        return before
    grey = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_BGR2GRAY)
    shrink = min(1.0, SIDE_PX / max(grey.shape))
    size = max(1, int(grey.shape[1] * shrink)), max(1, int(grey.shape[0] * shrink))
    _, data = cv2.imencode(".png", cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return _Kept(track.target, box, (width, height), base64.b64encode(data.tobytes()).decode("ascii"))


def _read(path: Path) -> dict[str, list[_Kept]]:
    """What the file says; nothing where it is absent, or a damaged state, which is set aside with a word. Raises
    OutputError for what cannot be read, and for what was never a state: that stays where it is."""
    with refused(OutputError, f"cannot read the state {path}"):
        if not path.exists():
            return {}
        if written_directly(path) or not path.is_file():
            raise OutputError(f"cannot keep the state in {path}: it is a folder, a pipe or a device, not a file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    if len(data) > LARGEST or not _was_ours(data):
        raise OutputError(f"{path} is not a state: it is left as it is; name another file, or remove it")
    try:
        raw: Any = json.loads(data)
        kept = {str(c): [from_mapping(_Kept, k, str(path)) for k in each] for c, each in raw["cameras"].items()}
        for each in kept.values():
            for one in each:
                checked_name(one.name)
                if min(one.box[2:]) < SMALLEST_PX or one.box[2] > one.size[0] or one.box[3] > one.size[1]:
                    raise ValueError("a box is too small or larger than its picture")
        return kept
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        log.warning("%s is damaged: %s; it is set aside", path, error)
        try:
            path.replace(path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.broken"))
        except OSError:
            log.debug("cannot set %s aside", path)
        return {}


def _was_ours(data: bytes) -> bool:
    """Whether a state may have become this: it begins as one, or has nothing but zeros, as after a power cut."""
    beginning = b"".join(data.rstrip(b"\0")[:100].split())[: len(BEGINNING)]
    return BEGINNING.startswith(beginning)
