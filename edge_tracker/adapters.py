"""A tracker with the shape of `cv2.Tracker`, for code written against OpenCV's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.track import TrackState
from edge_tracker.tracker import Tracker


class Cv2Tracker:
    """`init(image, box)`, `ok, bbox = update(image)`, `getTrackingScore()`. Takes the arguments of `Tracker`.

    `ok` is False while the target is LOST; `bbox` is four whole pixels, as OpenCV gives them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tracker = Tracker(*args, **kwargs)
        self._score = 0.0

    def init(self, image: NDArray[np.uint8], box: ArrayLike) -> None:
        self._tracker.init(image, box)
        self._score = 1.0

    def update(self, image: NDArray[np.uint8]) -> tuple[bool, tuple[int, int, int, int]]:
        track = self._tracker.update(image)
        self._score = track.confidence
        x, y, w, h = (round(v) for v in track.box)
        return track.state is not TrackState.LOST, (x, y, w, h)

    def getTrackingScore(self) -> float:
        """Confidence of the last update, 0..1."""
        return self._score
