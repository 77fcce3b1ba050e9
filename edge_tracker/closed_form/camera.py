"""Jerks of the camera: how far the whole picture has jumped between two frames, beyond its steady motion.

A camera that follows its target moves the background while the target stays where it was, so the background's shift is
no prediction of the target's; what departs from its running mean is: a jerk moves both.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.images import size_of
from edge_tracker.roi import PLAIN_SPREAD

LONGER_SIDE_PX = 96  # of the picture that is compared; 160 finds no more shifts, in three times the time
LEAST_PEAK = 0.08  # of the phase correlation, that is believed
PAN_RATE = 0.3  # of the running mean
LEAST_JERK = 0.25  # of sqrt(w h), that is compensated: less than that the filters find by themselves


class Camera:
    """Of one video; each picture is shown once, in its order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._hann = np.zeros((0, 0), np.float32)
        self._pan: tuple[float, float] | None = None  # the running mean, pixels of the image

    def jerk(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        """The shift (x, y) in pixels since the last picture less its running mean; (0, 0) where it cannot be told.

        By phase correlation (Kuglin and Hines 1975) of small grey pictures under a Hann window.
        """
        small = shrunk(image)
        if int(small.max()) - int(small.min()) < PLAIN_SPREAD:  # a black frame: what it is compared with says nothing
            self._last = None
            return 0.0, 0.0
        if small.shape != self._hann.shape:
            self._hann = np.asarray(cv2.createHanningWindow(small.shape[::-1], cv2.CV_32F), np.float32)
            self._last = None
        # Not by OpenCV's argument for it, which writes into the pictures: the last one would come under it twice.
        now, last = small * self._hann, self._last
        self._last = now
        if last is None:
            self._pan = None
            return 0.0, 0.0
        (dx, dy), peak = cv2.phaseCorrelate(last, now)
        (width, height), (down, across) = size_of(image), now.shape
        x, y = (dx * width / across, dy * height / down) if peak >= LEAST_PEAK else (0.0, 0.0)  # NaN for plain pictures
        pan = self._pan or (x, y)
        beyond = x - pan[0], y - pan[1]
        self._pan = pan[0] + PAN_RATE * beyond[0], pan[1] + PAN_RATE * beyond[1]
        return beyond


def shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in grey, its longer side LONGER_SIDE_PX; both sides even and quick to transform. (The phase
    correlation of OpenCV is half a pixel off where a side is odd.)"""
    width, height = size_of(image)
    k = min(1.0, LONGER_SIDE_PX / max(width, height))
    across, down = (2 * cv2.getOptimalDFTSize(max(1, round(k * side / 2))) for side in (width, height))
    if k < 0.5:  # most pixels of a large picture are dropped before the rest is averaged
        image = np.asarray(cv2.resize(image, (2 * across, 2 * down), interpolation=cv2.INTER_NEAREST), np.uint8)
    # Where two pixels become one, this is their mean; averaging areas takes five times as long at other factors.
    image = np.asarray(cv2.resize(image, (across, down), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
