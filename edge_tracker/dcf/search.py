"""Where to look for a lost target: around the place where it was, ever wider, until the whole frame is covered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from edge_tracker.boxes import Box, centre

PITCH = 0.5  # between two looks, of the ROI: a target on the border of one lies in the middle of the next


def looks(home: Box, roi_px: float, image_size: tuple[int, int]) -> Iterator[Box]:
    """Endless boxes of the size of `home` over an image (width, height), the nearest to `home` first, then again.

    roi_px: side of the window in which each is looked for.
    """
    pitch = max(1.0, PITCH * roi_px)
    cx, cy = centre(home)
    width, height = image_size
    columns = range(-int(cx // pitch) - 1, int((width - cx) // pitch) + 2)
    rows = range(-int(cy // pitch) - 1, int((height - cy) // pitch) + 2)
    steps = [(i, j) for i in columns for j in rows if (i, j) != (0, 0)]
    # One row beyond the frame on each side, drawn to its edge, so that the border is covered too.
    places = {(min(max(cx + i * pitch, 0), width), min(max(cy + j * pitch, 0), height)) for i, j in steps}
    ordered = sorted(places, key=lambda p: (max(abs(p[0] - cx), abs(p[1] - cy)), p))
    return cycle([(x - home[2] / 2, y - home[3] / 2, home[2], home[3]) for x, y in ordered])
