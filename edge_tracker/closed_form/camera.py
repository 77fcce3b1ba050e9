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

LONGER_SIDE_PX = 160  # of the picture that is compared
LEAST_PEAK = 0.08  # of the phase correlation, that is believed
PAN_RATE = 0.3  # of the running mean
LEAST_JERK = 0.25  # of sqrt(w h), that is compensated: less than that the filters find by themselves


class Camera:
    """Of one video; each picture is shown once, in its order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._hann = np.zeros((0, 0), np.float32)
        self._pan: NDArray[np.float64] | None = None

    def jerk(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        """The shift (x, y) in pixels since the last picture less its running mean; (0, 0) where it cannot be told.

        By phase correlation (Kuglin and Hines 1975) of small grey pictures under a Hann window.
        """
        width, height = size_of(image)
        k = min(1.0, LONGER_SIDE_PX / max(width, height))
        size = max(2, round(k * width)), max(2, round(k * height))
        if k < 0.5:  # averaging reads every pixel: drop most of a large picture's before
            image = np.asarray(cv2.resize(image, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_NEAREST), np.uint8)
        small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        if int(small.max()) - int(small.min()) < PLAIN_SPREAD:  # a black frame: what it is compared with says nothing
            self._last = None
            return 0.0, 0.0
        now, last = np.asarray(small, np.float32), self._last
        self._last = now.copy()  # OpenCV windows what it compares in place
        if last is None or last.shape != now.shape:
            self._hann = np.asarray(cv2.createHanningWindow(size, cv2.CV_32F), np.float32)
            self._pan = None
            return 0.0, 0.0
        shift, peak = cv2.phaseCorrelate(last, now, self._hann)
        moved = np.array([shift[0] * width / size[0], shift[1] * height / size[1]])
        if not peak >= LEAST_PEAK:  # NaN for plain pictures
            moved[:] = 0
        if self._pan is None:
            self._pan = moved.copy()
        beyond = moved - self._pan
        self._pan += PAN_RATE * beyond
        return float(beyond[0]), float(beyond[1])
