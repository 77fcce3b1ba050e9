"""The run loop: every frame of a source goes through the tracker to every output, and nothing written is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_tracker.boxes import Box
from edge_tracker.errors import OutputLost
from edge_tracker.follow import Target, follow
from edge_tracker.outputs.base import Output
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame, Source

log = logging.getLogger(__name__)


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
    tracker: Target,
    box: Box,
    outputs: Sequence[Output],
    max_frames: int | None = None,
    on_frame: Callable[[Frame, Track], None] | None = None,
) -> RunSummary:
    """Track the target that lies in `box` in the first frame of `source`, to its end or for `max_frames`.

    Outputs are closed however the run ends; they count as complete if the source came to its end, `max_frames`
    were reached, or a live source was interrupted (its only end). A receiver that is away (OutputLost) does not end the
    run. Raises whatever went wrong after closing them.
    """
    frames, lost, update_s = 0, 0, 0.0
    complete = False
    writers = [_Writer(output) for output in outputs]
    try:
        for step in follow(source, tracker, box):
            for writer in writers:
                writer.write(step.frame, step.track)
            frames += 1
            lost += step.track.state is TrackState.LOST
            update_s += step.update_s
            if on_frame is not None:
                on_frame(step.frame, step.track)
            if frames == max_frames:
                break
        complete = True
    except KeyboardInterrupt:
        complete = source.live
        raise
    finally:
        close_all(outputs, complete)
    return RunSummary(frames, lost, update_s)


class _Writer:
    """Writes to one output; says once that its receiver is away, and once that it is back."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._missed = 0

    def write(self, frame: Frame, track: Track) -> None:
        try:
            self._output.write(frame, [track])
        except OutputLost as error:
            if not self._missed:
                log.warning("%s; tracking goes on", error)
            self._missed += 1
            return
        if self._missed:
            log.warning("the output is back; %d frames did not reach it", self._missed)
            self._missed = 0


def close_all(outputs: Sequence[Output], complete: bool) -> None:
    """Close every output, even when one fails or is interrupted; then raise the first failure."""
    failures: list[BaseException] = []
    for output in outputs:
        try:
            output.close(complete)
        except (Exception, KeyboardInterrupt) as error:  # of a library, too
            failures.append(error)
    if failures:
        raise failures[0]
