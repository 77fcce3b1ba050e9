"""The outputs of one camera, as a whole that does not fail: what one cannot take is told once, and counted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from edge_tracker.errors import OutputError, TransientError
from edge_tracker.outputs.base import Output
from edge_tracker.outputs.status import Reporting, Status
from edge_tracker.service.run import close_all
from edge_tracker.track import Track
from edge_tracker.video.source import Frame

log = logging.getLogger(__name__)


class Outlets:
    """camera: its name, for messages. live: go on whatever fails; of a file, all that is to be kept must be kept."""

    def __init__(self, camera: str, outputs: Mapping[str, Output], live: bool) -> None:
        self.errors: dict[str, int] = dict.fromkeys(outputs, 0)  # frames that an output could not take
        self._camera, self._outputs, self._live = camera, dict(outputs), live
        self._failing: set[str] = set()

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        """To every output. Raises OutputError where a file's run must not go on."""
        for name, output in self._outputs.items():
            try:
                output.write(frame, tracks)
            except BrokenPipeError:  # who reads standard output has left
                raise
            except Exception as error:
                if not self._live and not isinstance(error, TransientError):
                    raise
                self.errors[name] += 1
                if name not in self._failing:
                    self._failing.add(name)
                    unforeseen = None if isinstance(error, OutputError) else error
                    log.error("%s: %s; tracking goes on", self._camera, error, exc_info=unforeseen)
                continue
            if name in self._failing:
                self._failing.remove(name)
                log.error("%s: %s is back; it has missed %d frames", self._camera, name, self.errors[name])

    def show(self, frame: Frame) -> None:
        """To those outputs alone that are watched by people: a picture that nothing is tracked in yet."""
        for output in self._outputs.values():
            if isinstance(output, Reporting):
                output.write(frame, [])

    def report(self, status: Status, tracks: Sequence[Track]) -> None:
        for output in self._outputs.values():
            if isinstance(output, Reporting):
                output.report(status, tracks)

    def close(self, complete: bool) -> None:
        """Close all, and then raise the first OutputError."""
        close_all(list(self._outputs.values()), complete)
