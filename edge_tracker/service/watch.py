"""One camera, or one file, from its frames to its outputs: targets come and go while it runs, outputs may fail."""

from __future__ import annotations

import collections
import contextlib
import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.outputs.base import Output
from edge_tracker.outputs.status import Status, temperature_c, throttled
from edge_tracker.service.choose import Chooser
from edge_tracker.service.outlets import Outlets
from edge_tracker.service.requests import Requests
from edge_tracker.service.self_chosen import SelfChosen
from edge_tracker.service.state import Remembered
from edge_tracker.service.targets import Targets
from edge_tracker.settings import Above, check
from edge_tracker.track import TrackState
from edge_tracker.video.latest import LatestSource
from edge_tracker.video.source import Frame, Source

T = TypeVar("T")
Image = NDArray[np.uint8]
MEASURED = 64  # frames over which rate and latency are taken
TURN_S = 0.5  # the longest that the loop waits for a frame
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchSettings:
    """How a camera is watched."""

    report_every_s: Annotated[float, Above(0), "seconds between two reports to page, MQTT and Prometheus"] = 1.0
    save_every_s: Annotated[float, Above(0), "seconds between two looks at whether the state is to be kept"] = 5.0
    drop_lost_after_s: Annotated[float, Above(0), "seconds LOST after which a chosen-by-itself target is dropped"] = 5.0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class WatchSummary:
    """What a watch did."""

    frames: int
    lost_frames: int
    complete: bool  # False for a file that was broken off


class Watch:
    """Follows the targets of one source until it ends or is told to stop. `run` belongs to one thread; `stop`, `ask`
    and what is built on it may be called from any.

    first: boxes of the first frame, by name (None: a name is made up).
    hold: of a file: stay on the first frame until a target is chosen, and then keep its pace.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        targets: Targets,
        outputs: Mapping[str, Output],
        *,
        first: Sequence[tuple[str | None, Box]] = (),
        chooser: Chooser | None = None,
        remembered: Remembered | None = None,
        settings: WatchSettings | None = None,
        hold: bool = False,
    ) -> None:
        self.name, self.source, self.targets = name, source, targets
        self.settings = settings or WatchSettings()
        self.beat = time.monotonic()  # when the loop last came round
        self.computing_since: float | None = None  # when the step that is under way began
        self._outlets = Outlets(name, outputs, source.live)
        self._first = list(first)
        self._self_chosen = SelfChosen(chooser, self.settings.drop_lost_after_s) if chooser is not None else None
        self._remembered = remembered
        self._hold = hold
        self._requests = Requests(name)
        self._stopping = threading.Event()
        self._image: Image | None = None
        self._latencies: collections.deque[float] = collections.deque(maxlen=MEASURED)
        self._moments: collections.deque[float] = collections.deque(maxlen=MEASURED)
        self._state = "connecting"
        self._updates = self._lost = 0
        self._reported = self._saved = 0.0

    # From any thread

    def stop(self) -> None:
        """End the run soon, files whole."""
        self._stopping.set()

    def ask(self, action: Callable[[Image], T]) -> T:
        """Have `action` done between two frames, on the newest picture: see `Requests.ask`."""
        return self._requests.ask(action)

    def add(self, box: Box, name: str | None = None, seen: Sequence[Image] = ()) -> str:
        """Follow what lies in `box`; returns its name. seen: the picture in which it was chosen, and those since."""

        def action(image: Image) -> str:
            views = [*seen, image] if seen else [image]
            added = self.targets.add(views[0], box, name)
            self.targets.catch_up(added, views[1:])
            return added

        return self.ask(action)

    def move(self, name: str, box: Box, seen: Sequence[Image] = ()) -> None:
        """Follow, by the name of a target that there is, what lies in `box`."""

        def action(image: Image) -> None:
            views = [*seen, image] if seen else [image]
            self.targets.move(views[0], name, box)
            self.targets.catch_up(name, views[1:])
            self._leave(name)

        self.ask(action)

    def rename(self, old: str, new: str) -> None:
        def action(_: Image) -> None:
            self.targets.rename(old, new)
            self._leave(old)

        self.ask(action)

    def drop(self, name: str) -> None:
        def action(_: Image) -> None:
            self.targets.drop(name)

        self.ask(action)

    def _leave(self, name: str) -> None:
        if self._self_chosen is not None:
            self._self_chosen.leave(name)

    @property
    def ended(self) -> bool:
        return self._state == "ended"

    # In the computing thread

    def run(self, max_frames: int | None = None) -> WatchSummary:
        """To the end of the source, `max_frames`, or `stop`. Closes source and outputs however it ends."""
        frames, complete = 0, False
        try:
            for frame in self._frames():
                self.beat = time.monotonic()
                if frame is not None:
                    self.computing_since = self.beat
                    self._step(frame)
                    self.computing_since = None
                    frames += 1
                self._requests.answer(self._image)
                self._housekeeping()
                if self._stopping.is_set() or frames == max_frames:
                    break
            complete = self.source.live or frames == max_frames or not self._stopping.is_set()
        except KeyboardInterrupt:
            complete = self.source.live
            raise
        finally:
            self.computing_since = None
            self._state = "ended"
            self._end(complete)
        return WatchSummary(frames, self._lost, complete)

    def _frames(self) -> Iterator[Frame | None]:
        """The frames of the source; None where none came in time, so that requests are answered meanwhile."""
        if isinstance(self.source, LatestSource):
            while not self._stopping.is_set():
                yield self.source.take(TURN_S)
            return
        start: float | None = None
        for frame in self.source:
            self._state = "live"
            while (
                self._hold and frame.index == 0 and not (self.targets.names or self._first or self._stopping.is_set())
            ):
                self._state = "waiting"
                self._image = frame.image
                self._outlets.show(frame)
                yield None
                time.sleep(0.02)
            if self._hold:
                start = time.monotonic() - frame.time_s if start is None else start
                while (early := start + frame.time_s - time.monotonic()) > 0 and not self._stopping.is_set():
                    yield None
                    time.sleep(min(early, 0.02))
            yield frame

    def _step(self, frame: Frame) -> None:
        self._image = frame.image
        was_empty = not self.targets.names
        tracks = self.targets.update(frame.image)
        if was_empty and self._first:
            self._start_first(frame)
            tracks = self.targets.tracks
        if self._remembered is not None and self._remembered.restore(self.name, frame, self.targets):
            tracks = self.targets.tracks
        if self._self_chosen is not None:
            self._self_chosen.update(frame, self.targets)
            tracks = self.targets.tracks
        self._updates += bool(tracks)
        self._lost += any(track.state is TrackState.LOST for track in tracks)
        self._outlets.write(frame, tracks)
        self._moments.append(time.monotonic())
        if frame.taken_at is not None:
            self._latencies.append(max(time.time() - frame.taken_at, 0.0))

    def _start_first(self, frame: Frame) -> None:
        """A target that is known from before a restart has moved since: it is not started where it once was."""
        first, self._first = self._first, []
        known = () if self._remembered is None else self._remembered.waiting(self.name)
        given = {name for name, _ in first}
        for number, (name, box) in enumerate(first, 1):
            if name is None and f"target {number}" not in given:  # the same after each restart
                name = f"target {number}"
            if name in known:
                log.warning("%s: %s is looked for as it was last seen, and not in its box", self.name, name)
            else:
                self.targets.add(frame.image, box, name)

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if now - self._reported >= self.settings.report_every_s:
            self._reported = now
            self._outlets.report(self.status(), self.targets.tracks)
        if self._remembered is not None and now - self._saved >= self.settings.save_every_s:
            self._saved = now
            self._remembered.keep(self.name, self._image, self.targets.tracks)

    def status(self) -> Status:
        source = self.source
        state, reason, frames, dropped, reconnects = self._state, "", self._updates, 0, 0
        if isinstance(source, LatestSource):
            frames, dropped, reconnects = source.arrived, source.dropped, source.reconnects
            state, reason = source.state, source.reason
        moments = list(self._moments)
        recent = [m for m in moments if m > time.monotonic() - 5.0]
        rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0
        return Status(
            camera=self.name,
            source=source.name,
            source_state=state,
            source_reason=reason,
            frames=frames,
            dropped=dropped,
            reconnects=reconnects,
            updates=self._updates,
            updates_per_s=rate,
            latency_s=statistics.median(self._latencies) if self._latencies else None,
            turns=self.targets.turns,
            output_errors=dict(self._outlets.errors),
            temperature_c=temperature_c(),
            throttled=throttled(),
        )

    def abandon(self) -> None:
        """Close everything without having run."""
        self._end(complete=False)

    def _end(self, complete: bool) -> None:
        """All of it, whatever fails; the files before the source, which may hang in a driver."""
        with contextlib.ExitStack() as last_first:
            for each in (self._self_chosen, self.source):
                if each is not None:
                    last_first.callback(each.close)
            last_first.callback(self._outlets.close, complete)
            last_first.callback(self._requests.end)
            if self._remembered is not None:
                self._remembered.keep(self.name, self._image, self.targets.tracks)
