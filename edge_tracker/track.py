"""What a tracker says about a frame, and what a tracking method is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box


class TrackState(str, Enum):
    """How far a box is to be believed."""

    TRACKED = "TRACKED"
    UNCERTAIN = "UNCERTAIN"
    LOST = "LOST"


@dataclass(frozen=True)
class Track:
    """Where a target is in one frame.

    `confidence` lies in [0, 1]. For the closed-form tracker and FSNet it is the probability that the box is right, for
    FMST the likeness to frame 1. While LOST, `box` is the place being searched; what a method learns then is said by
    its own documentation.
    """

    box: Box  # (x, y, w, h) pixels of the frame
    confidence: float
    state: TrackState
    target: str = "target"  # its name, where there are several
    age: int = 0  # frames since the box was looked for; above 0 only where several targets take turns


class Method(Protocol):
    """A tracking method for one target. Images are uint8 (H, W, 3) BGR, boxes pixels (see `boxes`).

    Arguments were checked by the caller: `Tracker`, or the service for several targets.
    """

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        """Start on a target; may be called again at any time."""

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image, which has the size of the last one."""

    def rescale(self, kx: float, ky: float, image_size: tuple[int, int]) -> None:
        """Expect images kx times as wide and ky times as high from now on, `image_size` (width, height) pixels."""
