"""The target among its look-alikes: what stood beside it, seen at the same time, cannot be it.

Two galleries of descriptions: views of the target, and of all that was in view beside it while it was surely tracked.
Their margin tells what likeness to the target alone cannot: a stranger may be rather like the target, but if he was
there before he is more like himself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.closed_form.colour import BINS, codes, region
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.refiner import Refiner
from edge_tracker.closed_form.view import View
from edge_tracker.roi import sample

OWN, OTHERS = 24, 32  # descriptions that are kept; the target's first one stays
PARTS = 3  # along each side, in which features are compared
FEATURES, COLOURS, INSTANCE = 2.8, 1.5, 0.0  # weight of each tap; of the colours of each half; of the refiner's vector
SAME = 0.6  # descriptions no more unlike than this are one
NOTHING = -9.0  # likeness to an empty gallery


class Identity:
    """Of one target. Boxes are in crop pixels."""

    def __init__(self, view: View, box: Box, optics: Optics, refiner: Refiner | None) -> None:
        """`box` in `view` is the target in frame 1."""
        self._optics, self._refiner = optics, refiner
        self._means = [m.reshape(-1, m.shape[-1]).mean(axis=0) for m in (view.coarse, view.fine) if m is not None]
        first = self.describe(view, [box])[0]
        self._whole = float(first @ first)
        self._own, self._others = Gallery(OWN, first), Gallery(OTHERS, first)
        self._own.add(first, self._whole, kept=True)

    def describe(self, view: View, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """What is under each box: (m, D), of which the dot product is the likeness."""
        parts = []
        maps = [(view.coarse, self._optics.coarse_grid)]
        if view.fine is not None and self._optics.fine_grid is not None:
            maps.append((view.fine, self._optics.fine_grid))
        for (features, grid), mean in zip(maps, self._means, strict=True):
            samples = sample(features, np.array([grid.box(box) for box in boxes]), PARTS, 1.0)
            parts.append(_unit((samples.reshape(len(boxes), -1, len(mean)) - mean).reshape(len(boxes), -1), FEATURES))
        parts.append(np.array([_colours(view.patch, box) for box in boxes], np.float32) * np.float32(COLOURS**0.5))
        if self._refiner is not None and INSTANCE:
            parts.append(self._refiner.identify(view, boxes) * np.float32(INSTANCE**0.5))
        return np.concatenate(parts, axis=1)

    def unlikeness(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        """Of two descriptions (D,): 0 for the same."""
        return self._whole - float(one @ other)

    def margin(self, description: NDArray[np.float32]) -> float:
        """How much more it is like the target than like what was seen beside it."""
        return self._likeness(self._own, description) - self._likeness(self._others, description)

    def _likeness(self, gallery: Gallery, description: NDArray[np.float32]) -> float:
        return max(gallery.best(description) - self._whole, NOTHING)

    def is_target(self, description: NDArray[np.float32]) -> None:
        self._own.add(description, self._whole)

    def is_other(self, descriptions: NDArray[np.float32]) -> None:
        for description in descriptions:
            self._others.add(description, self._whole)


class Gallery:
    """The descriptions seen last; one like a stored one only makes that fresh."""

    def __init__(self, capacity: int, like: NDArray[np.float32]) -> None:
        self._stored = np.zeros((capacity, len(like)), np.float32)
        self._seen = np.zeros(capacity)  # when; infinite: stays
        self._count, self._now = 0, 0.0

    def best(self, description: NDArray[np.float32]) -> float:
        """The highest dot product with a stored one; -infinity where there is none."""
        return float((self._stored[: self._count] @ description).max()) if self._count else -np.inf

    def add(self, description: NDArray[np.float32], whole: float, kept: bool = False) -> None:
        self._now += 1
        if self._count:
            likeness = self._stored[: self._count] @ description
            nearest = int(likeness.argmax())
            if likeness[nearest] > whole - SAME:
                self._seen[nearest] = max(self._seen[nearest], self._now)
                return
        if self._count < len(self._stored):
            place = self._count
            self._count += 1
        else:
            place = int(self._seen.argmin())
        self._stored[place] = description
        self._seen[place] = np.inf if kept else self._now


def _colours(patch: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
    """Square roots of the histograms of the upper and the lower half: (2 BINS,)."""
    x, y, w, h = box
    halves = []
    for top in (y, y + h / 2):
        found = codes(region(patch, (x, top, w, h / 2), 0.9))
        counts = np.bincount(found.ravel(), minlength=BINS).astype(np.float32)
        halves.append(np.sqrt(counts / max(1, found.size)))
    return np.concatenate(halves)


def _unit(vectors: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Rows of squared length `weight`."""
    length = np.sqrt(np.einsum("md,md->m", vectors, vectors))[:, None]
    scaled: NDArray[np.float32] = vectors * (np.float32(weight**0.5) / np.maximum(length, np.float32(1e-12)))
    return scaled
