"""A live source that is always there: the newest frame only, and a new connection whenever frames stop coming.

One thread reads and leaves the newest frame in a mailbox of one; a frame that nobody took in time is dropped and
counted. Frames are watched, not the connection: a camera may answer and send nothing. A reader that neither gives
frames nor ends is left behind, and ends by itself when its own time limit runs out.
"""

from __future__ import annotations

import ctypes
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from edge_tracker.errors import EdgeTrackerError, SourceLost, first_line
from edge_tracker.settings import Above, Between, check
from edge_tracker.video.source import Frame, Source

NUDGE_S = 1e-6
_C = ctypes.CDLL(None) if sys.platform == "linux" else None
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveSettings:
    """When a live source counts as gone, and how it is opened again."""

    frame_timeout_s: Annotated[float, Above(0), "seconds without a frame after which it is opened again"] = 5.0
    open_timeout_s: Annotated[float, Above(0), "seconds that opening may take"] = 15.0
    first_wait_s: Annotated[float, Above(0), "before the first new attempt; doubled each time"] = 1.0
    longest_wait_s: Annotated[float, Above(0), "between two attempts"] = 30.0
    jitter: Annotated[float, Between(0, 1), "share of the wait that is drawn by chance"] = 0.3
    steady_s: Annotated[float, Above(0), "seconds of frames after which waiting begins short again"] = 10.0
    most_stuck: Annotated[int, Between(1, 100), "readers that hang before the process is better started anew"] = 4

    def __post_init__(self) -> None:
        check(self)

    def wait_s(self, attempt: int) -> float:
        """Seconds before attempt 1, 2, ... since frames came."""
        longest = min(self.first_wait_s * 2 ** min(attempt - 1, 16), self.longest_wait_s)
        return longest * (1 - self.jitter * random.random())


class LatestSource(Source):
    """The newest frame of what `opener` opens, for ever.

    opener: called in a thread of its own for each connection; raises SourceError.
    patient: go on trying where the first attempt fails too, as with a camera that is still starting. Otherwise the
    constructor raises what the first attempt raised.

    `time_s` rises across connections by the time that passed. `index` counts the frames that arrived, dropped ones too.
    """

    live = True

    def __init__(
        self,
        opener: Callable[[], Source],
        name: str,
        settings: LiveSettings | None = None,
        patient: bool = True,
    ) -> None:
        self.name = name
        self.settings = settings or LiveSettings()
        self.state = "connecting"  # then "live", "away", "closed"
        self.reason = ""  # why it is away
        self.arrived = self.dropped = self.reconnects = 0
        self._opener, self._patient = opener, patient
        self._news = threading.Condition()
        self._mail: Frame | None = None
        self._closing = threading.Event()
        self._start = 0.0
        self._last_s = -NUDGE_S
        self._last_arrival = time.monotonic()
        self._reader: _Reader | None = None
        self._stuck: list[_Reader] = []
        self._first_error: EdgeTrackerError | None = None
        self._keeper = threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True)
        self._keeper.start()
        if not patient:
            self._wait_for_first()

    @property
    def stuck(self) -> int:
        """Readers that were left behind and have not ended."""
        return sum(reader.is_alive() for reader in self._stuck)

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet; None where none came in time, or the source is closed.

        Raises SourceLost where so many readers hang that only a new process helps.
        """
        with self._news:
            self._news.wait_for(lambda: self._mail is not None or self._closing.is_set(), timeout_s)
            frame, self._mail = self._mail, None
        if self.stuck >= self.settings.most_stuck:
            raise SourceLost(f"{self.name}: {self.stuck} readers hang in the driver: start the process anew")
        return frame

    def __iter__(self) -> Iterator[Frame]:
        while not self._closing.is_set():
            frame = self.take(1.0)
            if frame is not None:
                yield frame

    def close(self) -> None:
        with self._news:
            self._closing.set()
            self.state = "closed"
            self._mail = None
            self._news.notify_all()
        if threading.current_thread() is not self._keeper:
            self._keeper.join(2 * self.settings.frame_timeout_s)

    def _wait_for_first(self) -> None:
        with self._news:
            self._news.wait_for(lambda: self.arrived or self._first_error or self._closing.is_set(), None)
        if self._first_error is not None and not self.arrived:
            self.close()
            raise self._first_error

    def _keep(self) -> None:
        """Open, watch, open again."""
        attempt = 0
        while not self._closing.is_set():
            self._reader = reader = _Reader(self, self._opener)
            reader.start()
            while not self._closing.is_set() and not reader.over:
                limit = self.settings.frame_timeout_s if reader.opened else self.settings.open_timeout_s
                silence = time.monotonic() - reader.heard_at
                if silence >= limit:
                    reader.error = SourceLost(f"{self.name} gave no frame for {silence:.0f} s")
                    break
                with self._news:
                    self._news.wait_for(lambda: self._closing.is_set() or reader.over, min(limit - silence, 0.5))  # noqa: B023
            reader.wanted = False
            reader.join(0.5 if not self._closing.is_set() else self.settings.frame_timeout_s)
            if reader.is_alive():
                self._stuck.append(reader)
            self._stuck = [each for each in self._stuck if each.is_alive()]
            give_back()
            if self._closing.is_set():
                return
            attempt = 0 if reader.steady(self.settings.steady_s) else attempt + 1
            self._away(reader.error, max(attempt, 1))

    def _away(self, error: EdgeTrackerError | None, attempt: int) -> None:
        """Say that the source is away, and wait before the next attempt."""
        wait = self.settings.wait_s(attempt)
        with self._news:
            self.state = "away"
            self.reason = first_line(error) if error else "it ended"
            if self._first_error is None:
                self._first_error = error or SourceLost(f"{self.name} ended")
            self._news.notify_all()
        if self._patient or self.arrived:
            log.warning("%s; next attempt in %.0f s", self.reason, wait)
        with self._news:
            self._news.wait_for(lambda: self._closing.is_set(), wait)
        self.reconnects += 1

    def _post(self, reader: _Reader, frame: Frame) -> bool:
        """Put a frame into the mailbox; False where the reader is not wanted any more."""
        now = time.monotonic()
        with self._news:
            if self._closing.is_set() or reader is not self._reader or not reader.wanted:
                return False
            if self.arrived == 0:
                self._start = now - frame.time_s
            if reader.offset_s is None:
                reader.offset_s = max(now - self._start, self._last_s + NUDGE_S) - frame.time_s
            # A camera whose clock runs wild within a connection does not take ours along.
            ours = frame.time_s + reader.offset_s
            if abs(ours - (now - self._start)) > self.settings.frame_timeout_s:
                reader.offset_s = now - self._start - frame.time_s
                ours = now - self._start
            self._last_s = max(ours, self._last_s + NUDGE_S)
            self.dropped += self._mail is not None
            taken_at = time.time() if frame.taken_at is None else frame.taken_at
            self._mail = replace(frame, index=self.arrived, time_s=self._last_s, taken_at=taken_at)
            self.arrived += 1
            if self.state != "live":
                if self.reconnects:
                    log.warning("%s is back", self.name)
                self.state, self.reason = "live", ""
            self._news.notify_all()
        return True


def give_back() -> None:
    """Give freed memory back to the system: each connection leaves megabytes of holes in glibc's heaps."""
    trim = getattr(_C, "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Reader(threading.Thread):
    """One connection: opens the source, posts its frames, closes it."""

    def __init__(self, owner: LatestSource, opener: Callable[[], Source]) -> None:
        super().__init__(name=f"reader of {owner.name}", daemon=True)
        self._owner, self._opener = owner, opener
        self.opened = self.over = False
        self.wanted = True
        self.offset_s: float | None = None  # from the connection's clock to ours
        self.error: EdgeTrackerError | None = None
        self.heard_at = time.monotonic()
        self._first_at: float | None = None

    def steady(self, seconds: float) -> bool:
        """Whether frames came for so long."""
        return self._first_at is not None and self.heard_at - self._first_at >= seconds

    def run(self) -> None:
        try:
            with self._opener() as source:
                self.heard_at, self.opened = time.monotonic(), True
                self._owner.fps = source.fps
                for frame in source:
                    self.heard_at = time.monotonic()
                    self._first_at = self._first_at or self.heard_at
                    if not self._owner._post(self, frame):
                        return
        except EdgeTrackerError as error:
            self.error = self.error or error
        except Exception as error:  # a driver's own
            log.debug("reader of %s", self._owner.name, exc_info=True)
            self.error = self.error or SourceLost(f"{self._owner.name}: {type(error).__name__}: {first_line(error)}")
        finally:
            with self._owner._news:
                self.over = True
                self._owner._news.notify_all()
