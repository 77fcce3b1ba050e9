"""Targets that choose themselves by moving: a background model, and what stands out from it for a while and travels.

The background is a mixture of Gaussians per pixel with shadow detection (Zivkovic 2004, OpenCV's MOG2). At the start it
knows nothing, and takes who is there for background: until it has seen some frames, what differs from each of two
earlier frames stands out (double differences; Kameda and Minoh 1996), which leaves out the place where a thing stood. A
camera that shakes is held still first, by the shift that phase correlation finds between its picture and the
background's.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre, iou
from edge_tracker.errors import ConfigError
from edge_tracker.images import as_bgr
from edge_tracker.service.choose import MOST_MOVING
from edge_tracker.settings import Above, Between, check
from edge_tracker.threads import one_thread
from edge_tracker.track import Track
from edge_tracker.video.source import Frame

Image = NDArray[np.uint8]
FOREGROUND = 255  # in MOG2's answer; shadows are 127
REFERENCE_RATE = 0.02  # of the running mean that shifts are measured against
SURE_SHIFT = 0.1  # peak of the phase correlation from which its shift is believed
EXPLAINED = 0.8  # share of the difference from the background that may be left once a shift is taken out
GREATEST = 30.0  # grey levels that a pixel counts in that: what moves is not to decide
LAGS = 2, 4  # frames before this one that all have to differ from it, where the background is not known yet
LEAST_CHANGE = 12.0  # grey levels of that difference, in the channel that changes most
NOISES = 6.0  # and in the camera's noise
SAME = 0.2  # overlap from which two boxes of following frames are one thing
COVERED = 0.3  # share of a box from which it is a part of a target that there is


@dataclass(frozen=True)
class MotionSettings:
    """What counts as something that moves. Shares are of the picture's width, height or area."""

    most: Annotated[int, Between(1, MOST_MOVING), "targets followed at a time"] = 1
    width_px: Annotated[int, Between(64, 1920), "width of the picture in which motion is looked for"] = 320
    smallest: Annotated[float, Between(0, 1), "least area"] = 0.002
    largest: Annotated[float, Between(0, 1), "greatest area"] = 0.4
    frames: Annotated[int, Between(2, 1000), "frames for which it stands out before it is followed"] = 6
    travel: Annotated[float, Between(0, 10), "way it comes meanwhile, of the square root of its area"] = 0.1
    history: Annotated[int, Between(10, 100_000), "frames that the background remembers"] = 300
    cold_frames: Annotated[int, Between(0, 100_000), "first frames, in which what changes stands out"] = 100
    contrast: Annotated[float, Above(0), "squared distance from the background, in variances, that stands out"] = 16.0
    shake: Annotated[float, Between(0, 0.5), "greatest shift of the picture that is taken for shaking"] = 0.05
    upset: Annotated[float, Between(0, 1), "foreground share above which the light or the view has changed"] = 0.5
    ignore: Annotated[tuple[tuple[float, ...], ...], "regions not looked at, each x, y, w, h in shares"] = ()

    def __post_init__(self) -> None:
        check(self)
        for region in self.ignore:
            if len(region) != 4 or not all(0 <= v <= 1 for v in region):
                raise ConfigError(f"ignore is a list of regions x, y, w, h between 0 and 1, not {region}")


@dataclass
class _Candidate:
    box: Box  # in the small picture
    first: tuple[float, float]  # centre where it was first seen
    frames: int = 1
    missed: int = 0


class MotionChooser:
    """Proposes what moves (`choose.Chooser`)."""

    def __init__(self, settings: MotionSettings | None = None) -> None:
        self.settings = settings or MotionSettings()
        self._candidates: list[_Candidate] = []
        self._size = (0, 0)

    def propose(self, frame: Frame, tracks: Sequence[Track]) -> list[tuple[Image, Box]]:
        """Boxes of what has begun to move and is no part of one of `tracks`, largest first."""
        with one_thread():
            boxes, scale = self._moving(as_bgr(frame.image))
        self._follow(boxes)
        free = self.settings.most - len(tracks)
        found: list[tuple[Image, Box]] = []
        for candidate in sorted(self._candidates, key=lambda c: -c.box[2] * c.box[3]):
            if len(found) >= free:
                break
            x, y, w, h = candidate.box
            box = (x / scale[0], y / scale[1], w / scale[0], h / scale[1])
            if not self._has_travelled(candidate) or any(_covered(box, track.box) >= COVERED for track in tracks):
                continue
            found.append((frame.image, box))
            self._candidates.remove(candidate)
        return found

    def close(self) -> None:
        """Nothing is held open."""

    def _moving(self, image: Image) -> tuple[list[Box], tuple[float, float]]:
        """Boxes of what stands out, pixels of the small picture, and that picture's scale in x and y."""
        settings = self.settings
        height, width = image.shape[:2]
        shrink = min(1.0, settings.width_px / width)
        size = max(8, round(width * shrink)), max(8, round(height * shrink))
        if size != self._size:
            self._start(size)
        small: Image = image
        if size != (width, height):
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        shift = self._shift(small)
        if shift != (0.0, 0.0):
            back = np.array([[1.0, 0.0, -shift[0]], [0.0, 1.0, -shift[1]]])
            small = cv2.warpAffine(small, back, size, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
        marked = self._background.apply(small)
        cold = self._seen < settings.cold_frames
        moving = self._changing(small) if cold else marked == FOREGROUND
        mask = np.where(moving & self._looked_at, 255, 0).astype(np.uint8)
        edge = math.ceil(max(abs(shift[0]), abs(shift[1])))
        if edge:
            mask[:edge] = mask[-edge:] = 0
            mask[:, :edge] = mask[:, -edge:] = 0
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, self._speck).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, self._gap).astype(np.uint8)
        area = size[0] * size[1]
        if np.count_nonzero(mask) > settings.upset * area:
            self._candidates = []
            self._start(size)
            return [], (size[0] / width, size[1] / height)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        boxes = [
            (float(x) + shift[0], float(y) + shift[1], float(w), float(h))
            for x, y, w, h, _ in stats[1:]
            if settings.smallest * area <= w * h <= settings.largest * area
        ]
        return boxes, (size[0] / width, size[1] / height)

    def _start(self, size: tuple[int, int]) -> None:
        """Know nothing of the background."""
        settings = self.settings
        self._size = size
        self._background = cv2.createBackgroundSubtractorMOG2(settings.history, settings.contrast, True)
        self._reference: NDArray[np.float32] | None = None
        self._before: collections.deque[Image] = collections.deque(maxlen=max(LAGS))
        self._seen = 0
        self._window = cv2.createHanningWindow(size, cv2.CV_32F)
        self._speck = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        gap = max(3, round(size[0] / 40) | 1)
        self._gap = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, 2 * gap + 1))  # a walker's parts lie in a column
        self._looked_at = np.ones((size[1], size[0]), dtype=bool)
        for x, y, w, h in settings.ignore:
            rows = slice(math.floor(y * size[1]), math.ceil((y + h) * size[1]))
            self._looked_at[rows, math.floor(x * size[0]) : math.ceil((x + w) * size[0])] = False

    def _changing(self, small: Image) -> NDArray[np.bool_]:
        """Where this frame is like none of `LAGS` before it."""
        self._seen += 1
        blurred = np.asarray(cv2.GaussianBlur(small, (3, 3), 0), dtype=np.uint8)
        before = list(self._before)
        self._before.append(blurred)
        if len(before) < max(LAGS):
            return np.zeros(small.shape[:2], dtype=bool)
        least = np.full(small.shape[:2], 255, np.uint8)
        for lag in LAGS:
            least = np.minimum(least, cv2.absdiff(blurred, before[-lag]).max(axis=2))
        noise = 1.48 * float(np.median(cv2.absdiff(blurred, before[-1])))
        return np.asarray(least > max(LEAST_CHANGE, NOISES * noise))

    def _shift(self, small: Image) -> tuple[float, float]:
        """How far the whole picture lies off the background's, pixels of the small picture; 0 if it is not shaking."""
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        if self._reference is None:
            self._reference = grey
            return 0.0, 0.0
        (dx, dy), peak = cv2.phaseCorrelate(self._reference, grey, self._window)
        far = max(abs(dx) / self._size[0], abs(dy) / self._size[1])
        shift = (0.0, 0.0)
        if peak >= SURE_SHIFT and far <= self.settings.shake and max(abs(dx), abs(dy)) > 0.25:
            back = np.array([[1.0, 0.0, -dx], [0.0, 1.0, -dy]])
            held = cv2.warpAffine(grey, back, self._size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
            # What walks by can make such a peak too; shaking is what explains the picture.
            if _differ(held, self._reference) < EXPLAINED * _differ(grey, self._reference):
                shift, grey = (float(dx), float(dy)), held
        cv2.accumulateWeighted(grey, self._reference, REFERENCE_RATE)
        return shift

    def _follow(self, boxes: list[Box]) -> None:
        """Carry candidates on to the boxes of this frame."""
        free = list(boxes)
        for candidate in self._candidates:
            overlaps = [float(iou(np.array(candidate.box), np.array(box))) for box in free]
            if overlaps and max(overlaps) >= SAME:
                candidate.box = free.pop(int(np.argmax(overlaps)))
                candidate.frames += 1
                candidate.missed = 0
            else:
                candidate.missed += 1
        self._candidates = [c for c in self._candidates if c.missed <= 2] + [_Candidate(b, centre(b)) for b in free]

    def _has_travelled(self, candidate: _Candidate) -> bool:
        if candidate.frames < self.settings.frames or candidate.missed:
            return False
        (x, y), (x0, y0) = centre(candidate.box), candidate.first
        side = math.sqrt(candidate.box[2] * candidate.box[3])
        return math.hypot(x - x0, y - y0) >= self.settings.travel * side


def _differ(grey: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float(np.minimum(np.abs(grey - reference), GREATEST).mean())


def _covered(box: Box, other: Box) -> float:
    """Share of the smaller of two boxes that lies in the other."""
    w = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    h = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(w, 0.0) * max(h, 0.0) / max(min(box[2] * box[3], other[2] * other[3]), 1e-9)
