"""What a tracker says about a frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edge_tracker.boxes import Box


class TrackState(str, Enum):
    """How far a box is to be believed."""

    TRACKED = "TRACKED"
    UNCERTAIN = "UNCERTAIN"
    LOST = "LOST"


@dataclass(frozen=True)
class Track:
    """Where the target is. While LOST, `box` is no more than where the search goes on."""

    box: Box  # (x, y, w, h) pixels of the frame
    confidence: float  # 0..1
    state: TrackState
    target: str = "target"
