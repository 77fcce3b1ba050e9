"""The region of interest (ROI): a square window around the target, cut from the image and scaled to the crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.boxes import Box, centre
from edge_tracker.grid import bin_centres

AVERAGED = 3  # image pixels along each side that make a crop pixel, at most
PLAIN_SPREAD = 8  # grey levels between darkest and brightest; a dark sensor's noise stays under it


@dataclass(frozen=True)
class Window:
    """A square of whole image pixels, possibly reaching beyond the image."""

    x: int
    y: int
    side: int

    def to_grid(self, boxes: NDArray[np.float64], grid: int) -> NDArray[np.float64]:
        """Boxes (..., 4) in image pixels -> in cells of a `grid` x `grid` map that divides this window evenly."""
        return (boxes - np.array([self.x, self.y, 0.0, 0.0])) * (grid / self.side)


def window_around(box: Box, scale: float) -> Window:
    """The square window of side `scale` x the diagonal of `box`, centred on it, in whole pixels, at least 2 px."""
    cx, cy = centre(box)
    side = max(2, round(scale * math.hypot(box[2], box[3])))
    return Window(round(cx - side / 2), round(cy - side / 2), side)


def crop(image: NDArray[np.uint8], window: Window, side: int) -> NDArray[np.uint8]:
    """Cut `window` from `image` (H, W, 3) and scale it to (side, side, 3).

    What lies beyond the image is filled with the mean colour of what lies inside, so that no edge appears that
    features would answer to. The window is whole pixels, so nothing but the one scaling touches the picture.
    """
    height, width = image.shape[:2]
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.side, width), min(window.y + window.side, height)
    visible = image[top : max(bottom, top), left : max(right, left)]
    if visible.size == 0:
        return np.full((side, side, 3), 127, np.uint8)
    # Only the visible part is scaled: a window around a box as large as the frame would need gigabytes.
    k = side / window.side
    x0, x1 = _scaled(left - window.x, right - window.x, k, side)
    y0, y1 = _scaled(top - window.y, bottom - window.y, k, side)
    # Linear interpolation skips pixels when it shrinks by more than two; area averaging does not.
    method = cv2.INTER_AREA if window.side > 2 * side else cv2.INTER_LINEAR
    size = x1 - x0, y1 - y0
    if window.side > 4 * side:  # it also reads every pixel: of a large window, most are dropped before
        most = AVERAGED * size[0], AVERAGED * size[1]
        visible = np.asarray(cv2.resize(visible, most, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    patch = cv2.resize(visible, size, interpolation=method)
    if patch.shape[:2] != (side, side):
        edges = (y0, side - y1, x0, side - x1)
        patch = cv2.copyMakeBorder(patch, *edges, cv2.BORDER_CONSTANT, value=cv2.mean(patch))
    return np.asarray(patch, dtype=np.uint8)


def affine(
    turn: float,
    zoom: float,
    stretch: float,
    at: ArrayLike,
    centre: ArrayLike,
    mirrored: bool = False,
) -> NDArray[np.float32]:
    """The matrix (2, 3) that mirrors and turns a picture around `centre` (x, y) by `turn` radians, zooms it, stretches
    it by the log aspect `stretch`, and brings `centre` to `at`."""
    c, s = math.cos(turn), math.sin(turn)
    matrix = zoom * np.diag(np.exp([stretch / 2, -stretch / 2])) @ np.array([[c, -s], [s, c]])
    if mirrored:
        matrix[:, 0] *= -1
    return np.column_stack([matrix, np.asarray(at) - matrix @ np.asarray(centre)]).astype(np.float32)


def _scaled(first: int, last: int, k: float, side: int) -> tuple[int, int]:
    """Pixels [first, last) -> where they come to lie in a line of `side` pixels when scaled by k; never none."""
    start = min(round(first * k), side - 1)
    return start, min(max(round(last * k), start + 1), side)


def is_plain(patch: NDArray[np.uint8]) -> bool:
    """True where a picture (H, W, 3) shows nothing but one colour and a little noise.

    A network answers even to that, at its zero-padded borders, so its maps cannot tell.
    """
    line = patch[len(patch) // 16 * 8, ::8].tobytes()  # hardly any picture needs more than a look at one line
    if any(max(line[c::3]) - min(line[c::3]) >= PLAIN_SPREAD for c in range(3)):
        return False
    sample = np.ascontiguousarray(patch[::8, ::8].reshape(-1, 3).T)
    spread = sample.max(axis=1) - sample.min(axis=1)
    return int(spread.max()) < PLAIN_SPREAD


def sample(features: NDArray[np.float32], boxes: NDArray[np.float64], bins: int, context: float) -> NDArray[np.float32]:
    """bins x bins bilinear samples over context x each box: features (n, n, D), boxes (m, 4) in cells, cell centres
    at whole numbers -> (m, bins bins D). OpenCV takes places to 1/32 of a cell."""
    steps = _steps(bins, context)
    x, y, w, h = boxes.T[..., None]
    across, down = np.empty((2, len(boxes), bins, bins), np.float32)
    across[:] = (x + w / 2 + steps * w)[:, None]
    down[:] = (y + h / 2 + steps * h)[..., None]
    places = across.reshape(-1, bins), down.reshape(-1, bins)
    taken = cv2.remap(features, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32).reshape(len(boxes), -1)


def sample_box(features: NDArray[np.float32], box: Box, bins: int, context: float) -> NDArray[np.float32]:
    """The same for one box, in a third of the time: (bins, bins, D)."""
    x, y, w, h = box
    step, first = context / bins, (1 / bins - 1) * context / 2
    places = np.array([[w * step, 0, x + w / 2 + first * w], [0, h * step, y + h / 2 + first * h]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    taken = cv2.warpAffine(features, places, (bins, bins), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32)


_steps = lru_cache(maxsize=16)(bin_centres)
