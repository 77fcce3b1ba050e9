"""edge-tracker: a single-object tracker for machines without a GPU.

    from edge_tracker import Tracker
    tracker = Tracker()
    tracker.init(image, (x, y, w, h))
    track = tracker.update(next_image)      # track.box, track.confidence, track.state

Importing this package loads NumPy alone; OpenCV and an engine are loaded with the first tracker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tracker.boxes import Box
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.track import Track, TrackState
from edge_tracker.version import __version__

if TYPE_CHECKING:
    from edge_tracker.adapters import Cv2Tracker, Got10kTracker
    from edge_tracker.tracker import Tracker

__all__ = [
    "Box",
    "ClosedFormConfig",
    "Cv2Tracker",
    "EdgeTrackerError",
    "FmstConfig",
    "FsnetConfig",
    "Got10kTracker",
    "Track",
    "TrackState",
    "Tracker",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "Tracker":
        from edge_tracker.tracker import Tracker

        return Tracker
    if name in ("Cv2Tracker", "Got10kTracker"):
        from edge_tracker import adapters

        return getattr(adapters, name)
    raise AttributeError(f"module 'edge_tracker' has no attribute '{name}'")
