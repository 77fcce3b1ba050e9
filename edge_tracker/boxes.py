"""Boxes: float (x, y, w, h), top-left corner, pixels, 0-based, y down. Other forms are converted here."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.errors import BoxError

Box = tuple[float, float, float, float]

SMALLEST_PX, LARGEST_PX = 0.5, 1e6  # sides of a box that a user gives: less is no target, more is in no image


def as_box(values: ArrayLike | Sequence[float], image_size: tuple[int, int]) -> Box:
    """Validate a box from a user. `image_size` is (width, height) in pixels.

    Raises BoxError unless it is four finite numbers with sides from SMALLEST_PX to LARGEST_PX that overlap the image.
    """
    array = _four_numbers(values)
    x, y, w, h = (float(v) for v in array)
    said = f"box {x:g},{y:g},{w:g},{h:g}"
    if not np.isfinite(array).all():
        raise BoxError(f"{said} has a value that is not finite")
    if w <= 0 or h <= 0:
        raise BoxError(f"{said} has no area: width and height must be positive")
    if min(w, h) < SMALLEST_PX:
        raise BoxError(f"{said} is smaller than {SMALLEST_PX:g} pixels: a box is x, y, w, h in pixels, not in shares")
    if max(w, h) > LARGEST_PX:
        raise BoxError(f"{said} is larger than {LARGEST_PX:g} pixels")
    width, height = image_size
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise BoxError(f"{said} lies outside the {width}x{height} image")
    return x, y, w, h


def _four_numbers(values: ArrayLike | Sequence[float]) -> NDArray[np.float64]:
    """Texts, truth values, complex numbers and integers too large for a float are no numbers of a box."""
    try:
        given = np.asarray(values)
        if given.shape == (4,) and given.dtype.kind == "O" and all(isinstance(v, Real) for v in given):
            given = np.array([float(v) for v in given])
    except (TypeError, ValueError, OverflowError, RecursionError):
        given = np.zeros(0)
    if given.shape != (4,) or given.dtype.kind not in "iuf":
        text = " ".join(reprlib.repr(values).split())
        raise BoxError(f"a box is four numbers x, y, w, h, not {text}")
    return given.astype(np.float64)


def centre(box: Box) -> tuple[float, float]:
    """Centre (x, y) of a box, pixels."""
    x, y, w, h = box
    return x + w / 2, y + h / 2


def from_one_based(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 4) boxes whose first pixel is number 1, as in OTB -> 0-based."""
    return boxes - np.array([1.0, 1.0, 0.0, 0.0])


def to_one_based(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `from_one_based`."""
    return boxes + np.array([1.0, 1.0, 0.0, 0.0])


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union, row by row, of (..., 4) boxes; 0 where the union is empty."""
    top_left = np.maximum(a[..., :2], b[..., :2])
    bottom_right = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - intersection
    # Rounding can bring the ratio of two equal areas above 1.
    return np.minimum(np.divide(intersection, union, out=np.zeros_like(union), where=union > 0), 1.0)


def rescaled(box: Box, kx: float, ky: float, image_size: tuple[int, int]) -> Box:
    """The same box in an image kx times as wide and ky times as high, `image_size` pixels; bounded to it."""
    x, y, w, h = box
    return keep_in_frame((x * kx, y * ky, w * kx, h * ky), image_size)


def turned(box: Box, angle: float, stretch: float = 0.0) -> Box:
    """The box around the ellipse in `box` once that is turned by `angle` (radians) about its centre, then stretched by
    the log aspect `stretch`."""
    x, y, w, h = box
    c, s = math.cos(angle), math.sin(angle)
    wide = math.hypot(w * c, h * s) * math.exp(stretch / 2)
    high = math.hypot(w * s, h * c) * math.exp(-stretch / 2)
    return x + (w - wide) / 2, y + (h - high) / 2, wide, high


def keep_in_frame(box: Box, image_size: tuple[int, int], min_side: float = 1.0) -> Box:
    """Bound a tracked box: centre inside the image, no larger than the image, sides at least `min_side` px.

    The aspect ratio is kept, except where a side would fall under `min_side`.
    """
    x, y, w, h = box
    width, height = image_size
    cx, cy = min(max(x + w / 2, 0.0), float(width)), min(max(y + h / 2, 0.0), float(height))
    shrink = min(width / max(w, width), height / max(h, height))
    w, h = max(w * shrink, min_side), max(h * shrink, min_side)
    return cx - w / 2, cy - h / 2, w, h


def scaled(box: Box, factor: float) -> Box:
    """The same centre, both sides times `factor`."""
    cx, cy = centre(box)
    w, h = box[2] * factor, box[3] * factor
    return cx - w / 2, cy - h / 2, w, h


def moved_by(box: Box, delta: tuple[float, float, float, float]) -> Box:
    """One box moved and resized by (dx / w, dy / h, dlog w, dlog h), see `moved`."""
    dx, dy, lw, lh = delta
    cx, cy = centre(box)
    _, _, w, h = box
    cx, cy = cx + dx * w, cy + dy * h
    w, h = w * math.exp(lw), h * math.exp(lh)
    return cx - w / 2, cy - h / 2, w, h


def moved(boxes: NDArray[np.float64], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (..., 4) moved by (dx / w, dy / h, dlog w, dlog h) (R-CNN, Girshick et al. 2014, 3.5)."""
    sizes = boxes[..., 2:]
    centres = boxes[..., :2] + sizes / 2 + deltas[..., :2] * sizes
    new = sizes * np.exp(deltas[..., 2:])
    return np.concatenate([centres - new / 2, new], axis=-1)


def deltas(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `moved` needs to bring `boxes` (..., 4) onto `truth` (..., 4)."""
    sizes = boxes[..., 2:]
    off = (truth[..., :2] + truth[..., 2:] / 2 - boxes[..., :2] - sizes / 2) / sizes
    return np.concatenate([off, np.log(truth[..., 2:] / sizes)], axis=-1)


def visible_share(
    boxes: NDArray[np.float64],
    frame_size: tuple[int, int],
    occluders: NDArray[np.intp] | None = None,
    shifts: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Share of each box (n, 4) inside a frame of `frame_size` (width, height) and outside its occluder, [0, 1].

    occluders: (n, 4) left, top, right, bottom.
    shifts: (n,) shift of the view to the right; boxes are in the view's pixels.
    """
    ends = np.array(frame_size, dtype=np.float64)
    left_top = np.maximum(boxes[:, :2], 0)
    right_bottom = np.minimum(boxes[:, :2] + boxes[:, 2:], ends)
    if shifts is not None:
        left_top[:, 0] = np.maximum(left_top[:, 0], -shifts)
        right_bottom[:, 0] = np.minimum(right_bottom[:, 0], ends[0] - shifts)
    shown = np.clip(right_bottom - left_top, 0, None).prod(axis=1)
    if occluders is not None:
        common = np.minimum(right_bottom, occluders[:, 2:]) - np.maximum(left_top, occluders[:, :2])
        shown = shown - np.clip(common, 0, None).prod(axis=1)
    share = shown / boxes[:, 2:].prod(axis=1)
    share[share < 1e-9] = 0.0  # the two areas differ by rounding
    return share
