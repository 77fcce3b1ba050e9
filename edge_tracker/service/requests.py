"""What other threads ask of a camera's loop: it is done between two frames, by the loop's own thread."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import EdgeTrackerError, TransientError, UsageError

T = TypeVar("T")
Image = NDArray[np.uint8]


class Requests:
    """name: the camera's, for messages. `ask` belongs to any thread, the rest to the loop's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: queue.SimpleQueue[tuple[Callable[[Image], Any], Future[Any]]] = queue.SimpleQueue()
        self._ended = False

    def ask(self, action: Callable[[Image], T], timeout_s: float = 10.0) -> T:
        """Have `action` done on the newest picture. Raises what it raises, UsageError where there is no picture yet,
        TransientError where no answer comes in time, EdgeTrackerError where the loop has ended."""
        future: Future[T] = Future()
        self._waiting.put((action, future))
        if self._ended:
            self.end()
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.cancel() or not future.done():
                raise TransientError(f"{self._name} is busy: try again") from None
            raise

    def answer(self, image: Image | None) -> None:
        """Do what is waiting."""
        for action, future in self._taken():
            try:
                if image is None:
                    raise UsageError(f"{self._name} has given no picture yet")
                future.set_result(action(image))
            except Exception as error:  # it belongs to who asked
                future.set_exception(error)

    def end(self) -> None:
        """Refuse what is waiting, and what will come."""
        self._ended = True
        for _, future in self._taken():
            future.set_exception(EdgeTrackerError(f"{self._name} has ended"))

    def _taken(self) -> Iterator[tuple[Callable[[Image], Any], Future[Any]]]:
        """What is waiting, one after another, without those who gave up meanwhile."""
        while True:
            try:
                action, future = self._waiting.get_nowait()
            except queue.Empty:
                return
            if future.set_running_or_notify_cancel():
                yield action, future
