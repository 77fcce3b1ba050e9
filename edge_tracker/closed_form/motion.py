"""The target's motion: where it is expected in the next frame, and how far from there it may be.

What moves evenly is hardly ever a whole side away from where it is expected; another that looks like it often is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from edge_tracker.boxes import Box, centre

VELOCITY_RATE, SPREAD_RATE = 0.3, 0.1  # of the running means, per frame
UNKNOWN = 0.3  # spread of a target that has just been given or found, of sqrt(w h)
LARGEST = 1.4  # departure of one frame that counts, of sqrt(w h)
SPREADS, NARROWEST = 6.0, 0.35  # width of what is expected: so many spreads; at least so much of sqrt(w h)


class Expected(NamedTuple):
    """A Gaussian around where the target is expected, image pixels."""

    dx: float  # from where it was
    dy: float
    sigma: float


class Motion:
    """Of one target, from frame to frame: mean velocity, and how far single frames depart from it, in sqrt(w h)."""

    def __init__(self) -> None:
        self._velocity = 0.0, 0.0
        self._variance = UNKNOWN**2  # along one axis

    def expected(self, box: Box) -> Expected:
        """Seen from `box`, where it was in the last frame."""
        side = math.sqrt(box[2] * box[3])
        vx, vy = self._velocity
        return Expected(vx * side, vy * side, max(NARROWEST, SPREADS * math.sqrt(self._variance)) * side)

    def follow(self, before: Box, after: Box) -> None:
        """The target went from one box to the other, without what the camera's jerk has moved it."""
        side = math.sqrt(before[2] * before[3])
        (ax, ay), (bx, by) = centre(before), centre(after)
        vx, vy = self._velocity
        off_x, off_y = (bx - ax) / side - vx, (by - ay) / side - vy
        departure = min(off_x * off_x + off_y * off_y, LARGEST**2) / 2
        self._variance += SPREAD_RATE * (departure - self._variance)
        shorter = VELOCITY_RATE * min(1.0, LARGEST / max(1e-9, math.hypot(off_x, off_y)))
        self._velocity = vx + shorter * off_x, vy + shorter * off_y
