"""Which boxes are learned from, and how long they are remembered (III-C, III-E).

Boxes are (m, 4) arrays of x, y, w, h in whatever pixels the box they are drawn around is in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, iou

Boxes = NDArray[np.float64]
POSITIVE_IOU, NEGATIVE_IOU = 0.7, 0.5  # t1, t2
MOST_DRAWS = 6  # before what is too few is filled up by what there is


def around(box: Box, count: int, place: float, size: float, random: np.random.Generator) -> Boxes:
    """Gaussian boxes of the shape of `box` around it: centres by `place` of its mean side, log sizes by `size`."""
    x, y, w, h = box
    draws = random.standard_normal((count, 3))
    reach, grow = place * (w + h) / 2, np.exp(size * draws[:, 2])
    cx, cy = x + w / 2 + reach * draws[:, 0], y + h / 2 + reach * draws[:, 1]
    return np.stack([cx - w * grow / 2, cy - h * grow / 2, w * grow, h * grow], axis=1)


def jittered(box: Box, count: int, place: float, size: float, random: np.random.Generator) -> Boxes:
    """Gaussian boxes around `box`: centres by `place` of each side, log sizes and log aspects by `size`."""
    x, y, w, h = box
    draws = random.standard_normal((count, 4))
    grow, stretch = size * draws[:, 2], size * draws[:, 3] / 2
    wide, high = w * np.exp(grow + stretch), h * np.exp(grow - stretch)
    cx, cy = x + w / 2 + place * w * draws[:, 0], y + h / 2 + place * h * draws[:, 1]
    return np.stack([cx - wide / 2, cy - high / 2, wide, high], axis=1)


def anywhere(
    box: Box, count: int, area: tuple[float, float, float, float], size: float, random: np.random.Generator
) -> Boxes:
    """Boxes like `box`, log sizes evenly within `size`, centres evenly in `area` (left, top, width, height)."""
    _, _, w, h = box
    draws = random.random((count, 3))
    grow = np.exp(size * (2 * draws[:, 2] - 1))
    cx, cy = area[0] + area[2] * draws[:, 0], area[1] + area[3] * draws[:, 1]
    return np.stack([cx - w * grow / 2, cy - h * grow / 2, w * grow, h * grow], axis=1)


def positives(box: Box, count: int, random: np.random.Generator) -> Boxes:
    """Boxes that overlap `box` by an IoU above POSITIVE_IOU."""
    return _accepted(box, count, lambda n: jittered(box, n, 0.1, 0.1, random), lambda o: o > POSITIVE_IOU)


def negatives(
    box: Box, count: int, area: tuple[float, float, float, float], random: np.random.Generator, near: float = 0.5
) -> Boxes:
    """Boxes that overlap `box` by an IoU below NEGATIVE_IOU: a share `near` of them close by, the others anywhere."""
    close = round(near * count)
    parts = []
    if close:
        parts.append(_accepted(box, close, lambda n: jittered(box, n, 0.7, 0.3, random), lambda o: o < NEGATIVE_IOU))
    if count > close:
        parts.append(
            _accepted(box, count - close, lambda n: anywhere(box, n, area, 0.6, random), lambda o: o < NEGATIVE_IOU)
        )
    return np.concatenate(parts)


def drawn(
    box: Box, positive: int, negative: int, area: tuple[float, float, float, float], random: np.random.Generator
) -> Boxes:
    """Boxes to be learned: first the positives, then the negatives, of which half lie anywhere in `area`."""
    return np.concatenate([positives(box, positive, random), negatives(box, negative, area, random)])


def lattice(box: Box, reach: tuple[float, float], pitch: float) -> Boxes:
    """Boxes of the size of `box` on a grid around it: their centres lie within `reach` (width, height), `pitch` sides
    from one to the next."""
    x, y, w, h = box
    counts = (int(far / 2 / (pitch * side) + 1e-6) for far, side in zip(reach, (w, h), strict=True))
    across, down = (np.arange(-n, n + 1) * pitch * side for n, side in zip(counts, (w, h), strict=True))
    dx, dy = (part.ravel() for part in np.meshgrid(across, down))
    return np.stack([x + dx, y + dy, np.full_like(dx, w), np.full_like(dy, h)], axis=1)


def _accepted(
    box: Box, count: int, draw: Callable[[int], Boxes], wanted: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> Boxes:
    """`count` of the boxes drawn whose IoU with `box` is wanted; too few are repeated, none are those drawn last."""
    found = np.empty((0, 4))
    for _ in range(MOST_DRAWS):
        drawn = draw(2 * count)
        found = np.concatenate([found, drawn[wanted(iou(drawn, np.array(box)))]])
        if len(found) >= count:
            return found[:count]
    if not len(found):
        return drawn[:count]
    return found[np.arange(count) % len(found)]


class Memory:
    """Places of the samples of one target in a store of bounded size: frame 1's stay, of later frames the oldest go.

    The samples themselves are kept by whatever computes (on its device), in rows 0 to `capacity` - 1.
    """

    def __init__(self, first: tuple[int, int], later: tuple[int, int], frames: tuple[int, int]) -> None:
        """Of (positives, negatives): how many frame 1 has, how many each later frame, how many later frames stay."""
        self._first, self._later = first, later
        starts = np.cumsum([0, first[0], first[1], frames[0] * later[0], frames[1] * later[1]])
        self.capacity = int(starts[-1])
        self._start = [int(s) for s in starts[:4]]
        self._frames = tuple(deque[int](maxlen=n) for n in frames)  # which blocks are filled, oldest first
        self._limits = frames
        self._count = 0  # of later frames

    def places_of_first(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of the positives and negatives of frame 1."""
        return (
            np.arange(self._start[0], self._start[0] + self._first[0]),
            np.arange(self._start[1], self._start[1] + self._first[1]),
        )

    def add(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Make room for a frame: rows for its positives and negatives."""
        rows = []
        for kind in (0, 1):
            block = self._count % self._limits[kind]
            self._frames[kind].append(block)
            rows.append(self._block(kind, block))
        self._count += 1
        return rows[0], rows[1]

    def positives(self, frames: int | None = None) -> NDArray[np.intp]:
        """Rows of frame 1 and of the last `frames` later ones (None: all that are kept)."""
        return self._rows(0, frames)

    def negatives(self) -> NDArray[np.intp]:
        """Rows of frame 1 and of all later frames that are kept."""
        return self._rows(1, None)

    def _rows(self, kind: int, frames: int | None) -> NDArray[np.intp]:
        blocks = list(self._frames[kind])
        if frames is not None:
            blocks = blocks[-frames:] if frames else []
        return np.concatenate([self.places_of_first()[kind], *(self._block(kind, block) for block in blocks)])

    def _block(self, kind: int, block: int) -> NDArray[np.intp]:
        start = self._start[2 + kind] + block * self._later[kind]
        return np.arange(start, start + self._later[kind])
