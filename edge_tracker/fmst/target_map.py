"""Target maps (FMST paper, sections 2.1, 2.2.2 and 3.2.2): where a channel should be active, and where not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box


def coverage(box: Box, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Share of each cell of a (H, W) grid that `box`, in cells, covers: (H, W) in [0, 1].

    The areas are exact; a 0/1 map would round the box to whole cells.
    """
    x, y, w, h = box
    return np.outer(_covered(y, h, grid[0]), _covered(x, w, grid[1])).astype(np.float32)


def _covered(start: float, length: float, cells: int) -> NDArray[np.float64]:
    """Share of each of `cells` unit cells that [start, start + length] covers: (cells,). A cell's edges are clipped to
    the interval; their distance is the share."""
    edges = np.minimum(np.maximum(np.arange(cells + 1.0), start), start + length)
    return edges[1:] - edges[:-1]


def target_map(kind: str, box: Box, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Target map of type "S" or "C" for `box`, in cells, on a (H, W) grid: (H, W) in [-1, 1].

    Type C: 1 inside the box, -1 outside. Type S: 1 inside, -1 in the rest of a box of twice the sides around the same
    centre, 0 elsewhere. The negative map M_n of section 3.2.2 is the negative of this. Raises ValueError for another
    type.
    """
    inside = coverage(box, grid)
    if kind == "C":
        return 2 * inside - 1
    if kind == "S":
        x, y, w, h = box
        return 2 * inside - coverage((x - w / 2, y - h / 2, 2 * w, 2 * h), grid)
    raise ValueError(f"a target map is of type S or C, not {kind!r}")
