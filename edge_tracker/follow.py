"""One target through frames: init on the first, update on the rest. What a run and an evaluation have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.boxes import as_box
from edge_tracker.images import size_of
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame


class Target(Protocol):
    """What follows one target: `Tracker`, or an adapter of another tracker. Images are uint8 (H, W, 3) BGR."""

    def init(self, image: NDArray[np.uint8], box: ArrayLike) -> None: ...

    def update(self, image: NDArray[np.uint8]) -> Track: ...


@dataclass(frozen=True, eq=False)
class Step:
    """A frame, where the target is in it, and the seconds of the update: 0 for the first, which is given."""

    frame: Frame
    track: Track
    update_s: float


def follow(frames: Iterable[Frame], target: Target, box: ArrayLike) -> Iterator[Step]:
    """Follow the target that lies in `box` (x, y, w, h px) in the first of `frames`.

    The first track is the box as given. Raises BoxError, ImageError, and what `frames` raises.
    """
    started = False
    for frame in frames:
        if not started:
            target.init(frame.image, box)
            started = True
            yield Step(frame, Track(as_box(box, size_of(frame.image)), 1.0, TrackState.TRACKED), 0.0)
            continue
        start = time.perf_counter()
        track = target.update(frame.image)
        yield Step(frame, track, time.perf_counter() - start)
