"""What the page shows of a camera: the newest picture, encoded once, and the last seconds, to choose a target in."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import json
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import UsageError
from edge_tracker.images import as_bgr
from edge_tracker.outputs.status import Status
from edge_tracker.track import Track
from edge_tracker.video.source import Frame

WIDEST = 960  # px of the picture that is sent
QUALITY = 75  # of the JPEG, of 100
PICTURES_PER_S = 15.0
KEPT_S = 10.0  # pictures, for a box that is being drawn on one of them
STRIP_S, STRIP_STEP_S = 60.0, 0.5  # of the confidence strip

Past = collections.deque[tuple[float, float, str]]


class Pictures:
    """`put` and `report` belong to the camera's thread, `since` to any, the rest to the page's thread."""

    def __init__(self) -> None:
        self.viewers = 0
        self._lock = threading.Lock()
        self._newest: tuple[Frame, list[Track]] | None = None
        self._status: Status | None = None
        self._strips: dict[str, Past] = {}
        self._kept: collections.deque[tuple[int, float, tuple[int, int], bytes]] = collections.deque()
        self._news = asyncio.Event()
        self._version = 0
        self._message = b""
        self._encoding: asyncio.Future[None] | None = None
        self._encoded_at = 0.0
        self._size = (0, 0)

    def put(self, frame: Frame, tracks: Sequence[Track]) -> None:
        with self._lock:
            self._newest = frame, list(tracks)
            self._note(tracks)

    def report(self, status: Status, tracks: Sequence[Track]) -> None:
        with self._lock:
            self._status = status
            if self._newest is not None and status.source_state != "live":
                self._newest = self._newest[0], list(tracks)

    def wake(self) -> None:
        self._news.set()

    def told(self) -> dict[str, Any]:
        """Status and tracks as JSON takes them."""
        with self._lock:
            status, newest = self._status, self._newest
        tracks = newest[1] if newest else []
        return {"status": _status(status), "tracks": [_track(track) for track in tracks]}

    def past(self) -> bytes:
        """The first message to a viewer: the strips of the last minute."""
        with self._lock:
            strips = {
                name: [[round(now, 2), round(c, 3), s] for now, c, s in past] for name, past in self._strips.items()
            }
        return _packed({"strips": strips, "now": round(time.monotonic(), 2)}, b"")

    async def next(self, seen: int, workers: concurrent.futures.Executor) -> tuple[int, bytes]:
        """The newest message, once it is another than number `seen`."""
        while self._version == seen:
            if self._encoding is None:
                self._encoding = asyncio.ensure_future(self._encode(workers))
            await asyncio.shield(self._encoding)
        return self._version, self._message

    async def _encode(self, workers: concurrent.futures.Executor) -> None:
        """Wait for news, and make one message of it for all viewers."""
        try:
            await self._news.wait()
            await asyncio.sleep(self._encoded_at + 1 / PICTURES_PER_S - time.monotonic())
            self._news.clear()
            with self._lock:
                newest, status = self._newest, self._status
            self._encoded_at = time.monotonic()
            loop = asyncio.get_running_loop()
            self._message = await loop.run_in_executor(workers, self._made, newest, status)
            self._version += 1
        finally:
            self._encoding = None

    def _made(self, newest: tuple[Frame, list[Track]] | None, status: Status | None) -> bytes:
        told: dict[str, Any] = {"now": round(self._encoded_at, 2), "status": _status(status)}
        if newest is None:
            return _packed(told, b"")
        frame, tracks = newest
        height, width = frame.image.shape[:2]
        told |= {"index": frame.index, "width": width, "height": height, "tracks": [_track(track) for track in tracks]}
        with self._lock:
            last = self._kept.pop() if self._kept and self._kept[-1][0] == frame.index else None
        jpeg = encoded(frame.image if frame.smaller is None else frame.smaller()) if last is None else last[3]
        with self._lock:
            self._kept.append((frame.index, self._encoded_at, (width, height), jpeg))
            while self._kept and self._kept[0][1] < self._encoded_at - KEPT_S:
                self._kept.popleft()
        return _packed(told, jpeg)

    def _note(self, tracks: Sequence[Track]) -> None:
        now = time.monotonic()
        names = {track.target for track in tracks}
        for gone in set(self._strips) - names:
            del self._strips[gone]
        for track in tracks:
            strip = self._strips.setdefault(track.target, collections.deque(maxlen=round(STRIP_S / STRIP_STEP_S)))
            if not strip or now - strip[-1][0] >= STRIP_STEP_S:
                strip.append((now, track.confidence, track.state.value))

    def since(self, index: int | None) -> list[NDArray[np.uint8]]:
        """The kept pictures from frame `index` on, at the frame's own size; none without an index.

        Raises UsageError where it is not kept any more.
        """
        if index is None:
            return []
        with self._lock:
            kept = [(size, jpeg) for number, _, size, jpeg in self._kept if number >= index]
            if not kept or self._kept[0][0] > index:
                raise UsageError(f"the picture in which it was chosen is older than {KEPT_S:.0f} s: choose again")
        images = []
        for (width, height), jpeg in kept:
            image = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
            if image.shape[:2] != (height, width):
                image = np.asarray(cv2.resize(image, (width, height)), dtype=np.uint8)
            images.append(image)
        return images


def encoded(image: NDArray[np.uint8]) -> bytes:
    """`image` as JPEG, at most WIDEST pixels wide."""
    image = as_bgr(image)
    height, width = image.shape[:2]
    if width > WIDEST:
        size = (WIDEST, max(1, round(height * WIDEST / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def _packed(told: dict[str, Any], jpeg: bytes) -> bytes:
    """A message: length of the JSON (4 bytes, big-endian), the JSON, the JPEG."""
    text = json.dumps(told).encode()
    return struct.pack(">I", len(text)) + text + jpeg


def _track(track: Track) -> dict[str, Any]:
    return {
        "target": track.target,
        "box": [round(v, 1) for v in track.box],
        "confidence": round(track.confidence, 3),
        "state": track.state.value,
        "age": track.age,
    }


def _status(status: Status | None) -> dict[str, Any] | None:
    if status is None:
        return None
    latency = status.latency_s
    return {
        "camera": status.camera,
        "source": status.source,
        "state": status.source_state,
        "reason": status.source_reason,
        "dropped": status.dropped,
        "reconnects": status.reconnects,
        "fps": round(status.updates_per_s, 1),
        "latency_ms": None if latency is None else round(latency * 1e3),
        "turns": round(status.turns, 1),
        "output_errors": sum(status.output_errors.values()),
    }
