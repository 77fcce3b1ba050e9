"""The target's colours: what a network trained to ignore them, and made small by PCA, cannot tell apart.

A histogram of the middle of the box, and how much of it the surroundings in frame 1 share: only colours that
set the target apart count, so a grey video or a target in camouflage says nothing instead of something wrong.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre

BITS = 3  # that are kept of each of blue, green, red
BINS = 8**BITS
MIDDLE, AROUND = 0.75, 2.0  # of the sides of the box: what is the target's; what is its surroundings, without the box
DAMPING = 0.2  # of the difference between target and surroundings
SAMPLES = 24  # pixels along each side of a region that are counted, about


def codes(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """(..., 3) BGR -> the histogram bin of each pixel."""
    blue, green, red = np.moveaxis(pixels >> 8 - BITS, -1, 0)
    return np.asarray(blue.astype(np.uint16) << 2 * BITS | green << BITS | red, np.uint16)


def counts(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How many of the pixels (H, W, 3) lie in each bin, (BINS,)."""
    number = cv2.calcHist([np.ascontiguousarray(pixels)], [0, 1, 2], None, [1 << BITS] * 3, [0, 256] * 3)
    return np.asarray(number, np.float32).ravel()


class Colours:
    """Of one target. Patches are uint8 (H, W, 3) BGR, boxes in their pixels."""

    def __init__(self, patch: NDArray[np.uint8], box: Box) -> None:
        self._first = self._recent = _share(counts(region(patch, box, MIDDLE)))
        self._root = np.sqrt(self.histogram)
        inside, around = region(patch, box, 1.0, step=2), region(patch, box, AROUND, step=2)
        surroundings = np.maximum(counts(around) - counts(inside), 0)
        self._common = _overlap(self._first, _share(surroundings)) if surroundings.any() else 1.0

    @property
    def histogram(self) -> NDArray[np.float32]:
        """The target's, (BINS,), sums to 1: half of it stays that of frame 1."""
        return np.asarray((self._first + self._recent) / 2, np.float32)

    def likeness(self, patch: NDArray[np.uint8], box: Box) -> float:
        """How far the colours in `box` are from those around the target in frame 1 (0) to its own (near 1): (-5, 1).

        By Bhattacharyya coefficients; damped where the two are hard to tell apart.
        """
        number = counts(region(patch, box, MIDDLE))
        found = float(self._root @ np.sqrt(number)) / math.sqrt(number.sum())
        return (found - self._common) / (1 - self._common + DAMPING)

    def learn(self, patch: NDArray[np.uint8], box: Box, rate: float) -> None:
        """Follow a change of light: the colours in `box` make up a share `rate` of what is not frame 1's."""
        self._recent = self._recent + rate * (_share(counts(region(patch, box, MIDDLE))) - self._recent)
        self._root = np.sqrt(self.histogram)


def region(patch: NDArray[np.uint8], box: Box, scale: float, step: int = 0) -> NDArray[np.uint8]:
    """The pixels of scale x `box` that lie in the patch, at least one; every so-many-th (0: to about SAMPLES)."""
    cx, cy = centre(box)
    parts = []
    for middle, side, size in ((cy, box[3], patch.shape[0]), (cx, box[2], patch.shape[1])):
        first = min(max(round(middle - scale * side / 2), 0), size - 1)
        last = min(max(round(middle + scale * side / 2), first + 1), size)
        parts.append(slice(first, last, step or max(1, (last - first) // SAMPLES)))
    return patch[tuple(parts)]


def _share(number: NDArray[np.float32]) -> NDArray[np.float32]:
    return number / number.sum()


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Bhattacharyya coefficient of two histograms: [0, 1]."""
    return float(np.sqrt(one * other).sum())
