"""OpenCV's captures, without its own words on standard error: our errors say it in one line."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from edge_tracker.errors import SourceLost
from edge_tracker.video.source import Frame

SILENT = 0

_lock = threading.Lock()
_inside = 0
_level_before = 0


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """While any thread is in here OpenCV logs nothing; the last one out restores what the embedding program had."""
    global _inside, _level_before
    log: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2  # OpenCV 5 moved it
    with _lock:
        if _inside == 0:
            _level_before = log.getLogLevel()
            log.setLogLevel(SILENT)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                log.setLogLevel(_level_before)


def live_frames(capture: cv2.VideoCapture, name: str) -> Iterator[Frame]:
    """What a capture delivers, timed as it arrives. Raises SourceLost where it stops."""
    index, start, last_s = 0, 0.0, -1.0
    while True:
        ok, image = capture.read()
        now = time.monotonic()
        if not ok:
            raise SourceLost(f"{name} stopped after {index} frames")
        start = start if index else now
        last_s = max(now - start, last_s + 1e-6)
        yield Frame(index, last_s, np.asarray(image, dtype=np.uint8), taken_at=time.time())
        index += 1
