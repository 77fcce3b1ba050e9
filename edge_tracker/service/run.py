"""The run loop: every frame of a source goes through the tracker to every output, and nothing written is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_tracker.boxes import Box, as_box
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.images import size_of
from edge_tracker.outputs.base import Output
from edge_tracker.track import Track, TrackState
from edge_tracker.tracker import Tracker
from edge_tracker.video.sources import Frame, Source


@dataclass(frozen=True)
class RunSummary:
    """What a run did. `update_s` is the time spent in Tracker.update, decoding and writing excluded."""

    frames: int
    lost_frames: int
    update_s: float

    @property
    def fps(self) -> float:
        updates = self.frames - 1  # the first frame is init
        return updates / self.update_s if self.update_s > 0 else 0.0


def run(
    source: Source,
    tracker: Tracker,
    box: Box,
    outputs: Sequence[Output],
    max_frames: int | None = None,
    on_frame: Callable[[Frame, Track], None] | None = None,
) -> RunSummary:
    """Track the target that lies in `box` in the first frame of `source`, to its end or for `max_frames`.

    Outputs are closed however the run ends; they count as complete if the source came to its end, `max_frames`
    were reached, or a live source was interrupted (its only end). Raises whatever went wrong after closing them.
    """
    frames, lost, update_s = 0, 0, 0.0
    complete = False
    try:
        for frame in source:
            if frames == 0:
                tracker.init(frame.image, box)
                track = Track(as_box(box, size_of(frame.image)), 1.0, TrackState.TRACKED)
            else:
                start = time.perf_counter()
                track = tracker.update(frame.image)
                update_s += time.perf_counter() - start
            for output in outputs:
                output.write(frame, track)
            frames += 1
            lost += track.state is TrackState.LOST
            if on_frame is not None:
                on_frame(frame, track)
            if frames == max_frames:
                break
        complete = True
    except KeyboardInterrupt:
        complete = source.live
        raise
    finally:
        close_all(outputs, complete)
    return RunSummary(frames, lost, update_s)


def close_all(outputs: Sequence[Output], complete: bool) -> None:
    """Close every output, even when one fails; then raise the first failure."""
    failures = []
    for output in outputs:
        try:
            output.close(complete)
        except EdgeTrackerError as error:
            failures.append(error)
    if failures:
        raise failures[0]
