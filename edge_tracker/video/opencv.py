"""OpenCV without its own words on standard error: our errors say it in one line."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import cv2

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
