"""Trackers with the shape of others' interfaces: `cv2.Tracker`, and the got10k toolkit's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.images import as_bgr
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


class Got10kTracker:
    """What the runners of the got10k toolkit take: `ExperimentOTB(root).run(Got10kTracker("accurate"))`.

    `init(image, box)`, `box = update(image)`; images are PIL's (RGB), boxes float (x, y, w, h) px as the toolkit has
    them. Takes the arguments of `Tracker`; `name` is that of the folder of results, by default the method's.
    """

    is_deterministic = True  # one run a sequence is enough

    def __init__(self, *args: Any, name: str | None = None, **kwargs: Any) -> None:
        self._tracker = Tracker(*args, **kwargs)
        self.name = name or f"edge-tracker-{self._tracker.name}"

    def init(self, image: Any, box: ArrayLike) -> None:
        self._tracker.init(_bgr(image), box)

    def update(self, image: Any) -> NDArray[np.float64]:
        return np.array(self._tracker.update(_bgr(image)).box)

    def track(
        self, img_files: Sequence[str], box: ArrayLike, visualize: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Boxes (n, 4) and seconds (n,) of all files, by the toolkit's own loop."""
        from got10k.trackers import Tracker as Runner

        boxes, seconds = Runner.track(self, img_files, box, visualize=visualize)
        return boxes, seconds


def _bgr(image: Any) -> NDArray[np.uint8]:
    """A PIL image, or RGB as an array, of any mode -> BGR."""
    if hasattr(image, "convert"):
        image = image.convert("RGB")
    rgb = as_bgr(np.asarray(image))  # also refuses what is none
    return np.ascontiguousarray(rgb[:, :, ::-1])
