"""Targets that a chooser found: taken when they come, dropped when they are long LOST, left to whoever changes them."""

from __future__ import annotations

import logging

from edge_tracker.errors import UsageError
from edge_tracker.service.choose import Chooser
from edge_tracker.service.targets import Targets
from edge_tracker.track import TrackState
from edge_tracker.video.source import Frame

log = logging.getLogger(__name__)


class SelfChosen:
    """drop_after_s: seconds LOST after which a target is dropped, so that another may come."""

    def __init__(self, chooser: Chooser, drop_after_s: float) -> None:
        self._chooser, self._drop_after_s = chooser, drop_after_s
        self._lost_since: dict[str, float | None] = {}  # of the chooser's targets: time_s, None while they are seen

    def update(self, frame: Frame, targets: Targets) -> None:
        """Drop what is long gone, and take what is found in `frame`."""
        states = {track.target: track.state for track in targets.tracks}
        for name, since in list(self._lost_since.items()):
            if name not in states:
                del self._lost_since[name]
            elif states[name] is not TrackState.LOST:
                self._lost_since[name] = None
            elif since is None:
                self._lost_since[name] = frame.time_s
            elif frame.time_s - since >= self._drop_after_s:
                targets.drop(name)
                del self._lost_since[name]
        for image, box in self._chooser.propose(frame, targets.tracks):
            try:
                name = targets.add(image, box)
            except UsageError as error:  # followed already, or enough are
                log.debug("%s", error)
                continue
            self._lost_since[name] = None
            if image is not frame.image:
                targets.catch_up(name, [frame.image])

    def leave(self, name: str) -> None:
        """Whom a person moved or renamed is the person's: it is not dropped."""
        self._lost_since.pop(name, None)

    def close(self) -> None:
        self._chooser.close()
