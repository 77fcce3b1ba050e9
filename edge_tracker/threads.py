"""One thread of BLAS and of OpenCV while a tracker computes.

Two BLAS threads round differently, so that boxes drift apart by many pixels over some hundred frames, and on a busy
core they cost far more than they bring. The limit is the whole process's, hence one counted guard for all trackers in
all threads: the first one in sets it, the last one out restores what the embedding program had.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import threadpoolctl

_lock = threading.Lock()
_inside = 0
_before: list[tuple[Any, int]] = []
_opencv_before = 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """While any thread is in here, BLAS and OpenCV use one thread each, everywhere in the process."""
    shared, own = _libraries()
    _enter(shared)
    own_before = [(library, library.num_threads) for library in own]
    _set([(library, 1) for library in own])
    try:
        yield
    finally:
        _set(own_before)
        _leave()


@functools.cache
def _libraries() -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """BLAS libraries whose limit is the process's, and (OpenMP's) those where it is each thread's own."""
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    own = tuple(library for library in found if getattr(library, "threading_layer", "") == "openmp")
    return tuple(library for library in found if library not in own), own


def _enter(libraries: tuple[Any, ...]) -> None:
    global _inside, _before, _opencv_before
    with _lock:
        if _inside == 0:
            # Those that have one already are left alone on the way out too: asking takes longer than a comparison.
            _before = [(library, count) for library in libraries if (count := library.num_threads) != 1]
            _set([(library, 1) for library, _ in _before])
            _opencv_before = cv2.getNumThreads()
            if _opencv_before != 1:
                cv2.setNumThreads(1)
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            _set(_before)
            if _opencv_before != 1:
                cv2.setNumThreads(_opencv_before)


def _set(limits: list[tuple[Any, int]]) -> None:
    for library, limit in limits:
        if library.num_threads == limit:
            continue
        # From threadpoolctl 3.8 on only the first thread that set a limit may set another; we hold a lock instead.
        release = getattr(library, "clear_controlling_thread", None)
        if release is not None:
            release(force=True)
        library.set_num_threads(limit)
        if release is not None:
            release(force=True)
