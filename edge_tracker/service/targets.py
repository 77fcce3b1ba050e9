"""Several targets on one session: added, moved, renamed and dropped while they are followed, by one thread.

Two targets never both claim one object. Where two boxes come to lie on each other, the one that was surer before keeps
the object, and the other is shown pictures in which that object is painted over: it finds its own again, or is LOST.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.boxes import Box, as_box, iou, rescaled
from edge_tracker.errors import BoxError, UsageError
from edge_tracker.images import as_bgr, size_of
from edge_tracker.methods import Prepared
from edge_tracker.settings import Above, Between, check
from edge_tracker.track import Track, TrackState
from edge_tracker.tracker import Tracker

LONGEST_NAME = 40
SURENESS_RATE = 0.1  # of the running mean of a target's confidence
CATCH_UP_S = 2.0
LAG = 0.2  # of the budget's excess that a frame's measurement moves the running mean

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetSettings:
    """How several targets live together."""

    most: Annotated[int, Between(1, 64), "targets at a time"] = 8
    budget_s: Annotated[float, Above(0), "computing time for a frame; with more targets than time, they take turns"] = (
        1 / 30
    )
    same_iou: Annotated[float, Between(0.1, 1), "overlap from which two boxes lie on one object"] = 0.6
    apart_iou: Annotated[float, Between(0, 1), "overlap under which they are two objects again"] = 0.3
    contested_frames: Annotated[int, Between(1, 1000), "frames on one object after which the weaker is LOST"] = 5
    apart_frames: Annotated[int, Between(1, 1000), "frames apart after which it is believed again"] = 5

    def __post_init__(self) -> None:
        check(self)


@dataclass
class _Target:
    tracker: Tracker
    track: Track
    sureness: float = 1.0
    rival: str | None = None  # who keeps the object that both boxes came to lie on
    contested: int = 0
    apart: int = 0
    updates: int = 0
    order: int = field(default=0)


class Targets:
    """The targets of one camera. Everything but `names` belongs to one thread at a time."""

    def __init__(self, prepared: Prepared, settings: TargetSettings | None = None) -> None:
        self.settings = settings or TargetSettings()
        self.prepared = prepared
        self.turns = 1.0  # frames between two updates of a target, running mean; above 1 where time is short
        self._targets: dict[str, _Target] = {}
        self._next = 0  # whose turn it is
        self._made = 0
        self._said = False
        self._size: tuple[int, int] | None = None  # of the frames, width and height

    @property
    def names(self) -> list[str]:
        return list(self._targets)

    @property
    def tracks(self) -> list[Track]:
        """What was last said of each target."""
        return [target.track for target in self._targets.values()]

    def add(self, image: NDArray[np.uint8], box: ArrayLike, name: str | None = None) -> str:
        """Start a target on `box` of `image`; returns its name. Raises UsageError, and then nothing has changed."""
        if len(self._targets) >= self.settings.most:
            raise UsageError(f"there are {len(self._targets)} targets already, and most is {self.settings.most}")
        name = self._fresh_name() if name is None else self._free(checked_name(name))
        found = as_box(box, size_of(as_bgr(image)))
        self._refuse_taken(found, None)
        if not self._targets:
            self._size = size_of(image)
        tracker = Tracker.on(self.prepared)
        tracker.init(image, found)
        self._made += 1
        track = Track(found, 1.0, TrackState.TRACKED, name)
        self._targets[name] = _Target(tracker, track, order=self._made)
        return name

    def move(self, image: NDArray[np.uint8], name: str, box: ArrayLike) -> None:
        """Start a target anew on another box. Raises UsageError, and then it is followed as before."""
        target = self._named(name)
        found = as_box(box, size_of(as_bgr(image)))
        self._refuse_taken(found, name)
        target.tracker.init(image, found)
        fresh = Track(found, 1.0, TrackState.TRACKED, name)
        self._targets[name] = replace(target, track=fresh, sureness=1.0, rival=None, contested=0, apart=0)
        self._forget_rival(name)

    def catch_up(self, name: str, images: Sequence[NDArray[np.uint8]]) -> None:
        """Follow one target through pictures that came while it was being chosen: through so many of them, the last
        always, as CATCH_UP_S allows, for the camera waits meanwhile."""
        target = self._named(name)
        start, done, next_one, last = time.perf_counter(), 0, 0, len(images) - 1
        while next_one <= last:
            target.track = self._updated(target, images[next_one])
            done += 1
            spent = time.perf_counter() - start
            affordable = max(CATCH_UP_S - spent, 0.0) / (spent / done)
            step = max(1, int(np.ceil((last - next_one) / max(affordable, 1.0))))
            next_one = last if next_one < last < next_one + step else next_one + step

    def rename(self, old: str, new: str) -> None:
        """Raises UsageError where there is no such target, or the name is taken or none."""
        target = self._named(old)
        if new == old:
            return
        new = self._free(checked_name(new))
        target.track = replace(target.track, target=new)
        self._targets = {new if name == old else name: each for name, each in self._targets.items()}
        for each in self._targets.values():
            if each.rival == old:
                each.rival = new

    def drop(self, name: str) -> None:
        """Raises UsageError where there is no such target."""
        self._named(name)
        del self._targets[name]
        self._forget_rival(name)

    def update(self, image: NDArray[np.uint8]) -> list[Track]:
        """Find the targets in the next image.

        Within `budget_s` each has its turn, at least one; those that have to wait give their last track, older by a
        frame (`Track.age`). Raises ImageError.
        """
        names = self.names
        if not names:
            return []
        self._take_size(size_of(as_bgr(image)))
        first = self._next % len(names)
        end = time.perf_counter() + self.settings.budget_s
        done: set[str] = set()
        for name in names[first:] + names[:first]:
            target = self._targets[name]
            target.track = self._updated(target, image)
            target.updates += 1
            done.add(name)
            if time.perf_counter() >= end:
                break
        self._next = first + len(done)
        for name in names:
            if name not in done:
                target = self._targets[name]
                target.track = replace(target.track, age=target.track.age + 1)
        self._tell_turns(len(names) / len(done))
        self._tell_apart(done)
        return self.tracks

    def _take_size(self, size: tuple[int, int]) -> None:
        """Frames of another size show the same view: boxes of targets that wait for their turn are scaled too."""
        if self._size is not None and size != self._size:
            kx, ky = size[0] / self._size[0], size[1] / self._size[1]
            for target in self._targets.values():
                target.track = replace(target.track, box=rescaled(target.track.box, kx, ky, size))
        self._size = size

    def _updated(self, target: _Target, image: NDArray[np.uint8]) -> Track:
        rival = self._targets.get(target.rival or "")
        if rival is not None:
            image = without(image, rival.track.box)
        found = target.tracker.update(image)
        return replace(found, target=target.track.target, age=0)

    def _tell_apart(self, done: set[str]) -> None:
        """See that no two targets are TRACKED on one object."""
        for name in done:
            target = self._targets[name]
            if target.rival is not None:
                self._contest(target, self._targets[target.rival])
            if target.rival is None and target.track.state is TrackState.TRACKED:
                target.sureness += SURENESS_RATE * (target.track.confidence - target.sureness)
        believed = [t for t in self._targets.values() if t.rival is None and t.track.state is not TrackState.LOST]
        for k, one in enumerate(believed):
            for other in believed[k + 1 :]:
                if one.rival is None and other.rival is None and _overlap(one, other) >= self.settings.same_iou:
                    weaker, keeper = (
                        (one, other) if (one.sureness, -one.order) < (other.sureness, -other.order) else (other, one)
                    )
                    weaker.rival, weaker.contested, weaker.apart = keeper.track.target, 0, 0
                    self._contest(weaker, keeper)

    def _contest(self, target: _Target, keeper: _Target) -> None:
        """What is said of a target that has come to lie on the keeper's object."""
        if keeper.track.state is TrackState.LOST:
            target.rival = None  # the keeper holds nothing: there is nothing to be told apart from
            return
        overlap = _overlap(target, keeper)
        if overlap >= self.settings.apart_iou:
            target.apart = 0
            target.contested += 1
        elif target.track.state is TrackState.TRACKED:
            target.apart += 1
            if target.apart >= self.settings.apart_frames:
                target.rival = None
                return
        if target.track.state is TrackState.TRACKED or overlap >= self.settings.apart_iou:
            lost = target.contested >= self.settings.contested_frames
            target.track = replace(target.track, state=TrackState.LOST if lost else TrackState.UNCERTAIN)

    def _refuse_taken(self, box: Box, name: str | None) -> None:
        for other, target in self._targets.items():
            if other == name or target.track.state is TrackState.LOST:
                continue
            if float(iou(np.array(box), np.array(target.track.box))) >= self.settings.same_iou:
                raise BoxError(f"{other} is followed there already: drop it or move it first")

    def _tell_turns(self, turns: float) -> None:
        self.turns += LAG * (turns - self.turns)
        if self.turns > 1.5 and not self._said:
            self._said = True
            log.warning(
                "%d targets take more than %.0f ms a frame: they take turns, each is updated every %.1f frames",
                len(self._targets),
                self.settings.budget_s * 1e3,
                self.turns,
            )
        elif self.turns < 1.1:
            self._said = False

    def _forget_rival(self, name: str) -> None:
        for target in self._targets.values():
            if target.rival == name:
                target.rival = None

    def _named(self, name: str) -> _Target:
        if name not in self._targets:
            raise UsageError(f"there is no target {name!r}; there is {', '.join(self._targets) or 'none'}")
        return self._targets[name]

    def _free(self, name: str) -> str:
        if name in self._targets:
            raise UsageError(f"there is a target {name!r} already")
        return name

    def _fresh_name(self) -> str:
        number = self._made + 1
        while f"target {number}" in self._targets:
            number += 1
        return f"target {number}"


def checked_name(name: object) -> str:
    """A target's name: 1 to LONGEST_NAME characters that can be printed, no step of a path. Raises UsageError."""
    if not isinstance(name, str):
        raise UsageError(f"a name is a text, not {type(name).__name__}")
    name = re.sub(r"\s+", " ", name).strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name in (".", ".."):
        raise UsageError(f"a name has 1 to {LONGEST_NAME} characters that can be printed, and is not . or ..")
    return name


def without(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """A copy of `image` with what lies in `box` painted in the mean colour of what surrounds it."""
    height, width = image.shape[:2]
    x, y, w, h = box
    left, top = max(int(x), 0), max(int(y), 0)
    right, bottom = min(int(np.ceil(x + w)), width), min(int(np.ceil(y + h)), height)
    painted = image.copy()
    if right <= left or bottom <= top:
        return painted
    rim = max(2, round(0.1 * min(w, h)))
    around = image[max(top - rim, 0) : bottom + rim, max(left - rim, 0) : right + rim]
    inside = painted[top:bottom, left:right]
    count = around.shape[0] * around.shape[1] - inside.shape[0] * inside.shape[1]
    total = around.sum(axis=(0, 1), dtype=np.int64) - inside.sum(axis=(0, 1), dtype=np.int64)
    inside[:] = total // count if count > 0 else 127
    return painted


def _overlap(one: _Target, other: _Target) -> float:
    return float(iou(np.array(one.track.box), np.array(other.track.box)))
