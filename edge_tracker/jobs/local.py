"""What carries work, and the two that need no other machine: this process, and several of them.

All executors give each item's outcome once, as it is ready. A worker that dies takes nothing with it but the item it
was at, which is begun anew; an item that keeps killing its workers is given up, and the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar

from edge_tracker.errors import EdgeTrackerError

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3  # that an item has before it is taken to be what kills its workers


class WorkerDied(EdgeTrackerError):
    """The process that was at an item ended without a word, again and again."""


class Executor(Protocol):
    """Where work is done."""

    def run(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Exception]]:
        """(index of the item, what `work` gave or raised), each item once, in the order they are ready.

        `work`, items and results are picklable. Closing the iterator gives up what has not begun; processes
        end in the midst of their item.
        """
        ...


class Here:
    """One item after the other in this process."""

    def run(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Exception]]:
        for index, item in enumerate(items):
            try:
                outcome: R | Exception = work(item)
            except Exception as error:
                outcome = error
            yield index, outcome


class Processes:
    """`count` items at a time, each worker a fresh process that serves one thread of this one.

    A pool of several would be broken as a whole by one death, and not tell whose it was.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Exception]]:
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        stop = threading.Event()
        leash, end = multiprocessing.Pipe(duplex=False)
        for index in range(len(items)):
            waiting.put(index)

        def serve() -> None:
            pool = _fresh_process(leash)
            try:
                while not stop.is_set():
                    try:
                        index = waiting.get_nowait()
                    except queue.Empty:
                        return
                    for attempt in range(1, ATTEMPTS + 1):
                        try:
                            outcome: Any = pool.submit(work, items[index]).result()
                        except BrokenProcessPool:
                            pool.shutdown(wait=False)
                            pool = _fresh_process(leash)
                            outcome = WorkerDied(f"its process died {attempt} times")
                            if stop.is_set():
                                return
                            continue
                        except Exception as error:
                            outcome = error
                        except BaseException as error:  # an item that exits or is interrupted ends nothing but itself
                            outcome = WorkerDied(f"it ended its process: {type(error).__name__}")
                        break
                    done.put((index, outcome))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

        servers = [threading.Thread(target=serve, daemon=True) for _ in range(min(self.count, len(items)))]
        for server in servers:
            server.start()
        try:
            for _ in items:
                yield done.get()
        finally:
            stop.set()
            end.close()
        for server in servers:
            server.join()


def _fresh_process(leash: Connection[Any, Any]) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=_end_with_parent, initargs=(leash,))


def _end_with_parent(leash: Connection[Any, Any]) -> None:
    """A process whose parent was killed must not wait for work for ever, nor finish what was given up: then the other
    end of `leash` is closed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch(sentinel: int) -> None:
        wait([sentinel, leash])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
