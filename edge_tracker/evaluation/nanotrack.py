"""NanoTrack in ONNX Runtime, to compare with. OpenCV runs v1 and v2, but not v3, whose head has another grid.

A Siamese tracker: the target of frame 1 is the template. A head compares its features with those of the search window,
and gives for each point of a grid over the window a score and the distances to the four sides of a box.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.backbones.ort import onnxruntime, quiet_settings
from edge_tracker.boxes import as_box
from edge_tracker.errors import ModelError
from edge_tracker.images import size_of
from edge_tracker.track import Track, TrackState

TEMPLATE_SIDE, SEARCH_SIDE = 127, 255  # sides of the two crops, pixels; fixed by the networks
CONTEXT = 0.5  # share of width plus height that is added to each side of the template's window
STRIDE = 16  # search crop's pixels between two points of the grid; fixed by the head
PENALTY, WINDOW, SIZE_RATE = 0.138, 0.455, 0.348  # as published with the networks
SMALLEST_SIDE_PX = 10.0  # of the box, pixels; as published


class NanoTrack:
    """Tracks with a backbone and a head in ONNX form, on one thread. The confidence is its score, 0..1. It never says
    that the target is lost, so the state is always TRACKED. Raises ModelError if the files are no such pair."""

    def __init__(self, backbone: Path, head: Path) -> None:
        try:
            # The file fixes the input to the size of the search window; OpenCV takes the template's too.
            self._template_net = cv2.dnn.readNetFromONNX(str(backbone))
            self._backbone, self._head = _session(backbone), _session(head)
        except Exception as error:  # each engine raises its own types
            raise ModelError(f"no NanoTrack in {backbone.parent}: {error}") from error
        self._inputs = [value.name for value in self._head.get_inputs()]
        self._input = self._backbone.get_inputs()[0].name
        shape = self._head.get_outputs()[0].shape
        if len(self._inputs) != 2 or len(shape) != 4 or shape[1] != 2:
            raise ModelError(f"{head} is not a head of NanoTrack: its output has shape {shape}")
        cells = int(shape[-1])
        self._points = (np.arange(cells) - cells // 2) * float(STRIDE)  # of the grid, from the window's centre
        hann = np.hanning(cells)
        self._window = np.outer(hann, hann)
        self._template: NDArray[np.float32] = np.zeros((1, 1, 1, 1), np.float32)
        self._centre = np.zeros(2)
        self._size = np.ones(2)
        self._mean = np.zeros(3)

    def init(self, image: NDArray[np.uint8], box: ArrayLike) -> None:
        x, y, w, h = as_box(box, size_of(image))
        self._centre, self._size = np.array([x + w / 2, y + h / 2]), np.array([w, h])
        self._mean = image.mean(axis=(0, 1))
        crop = self._crop(image, _context_side(self._size), TEMPLATE_SIDE)
        self._template_net.setInput(_as_input(crop))
        self._template = np.asarray(self._template_net.forward(), dtype=np.float32)

    def update(self, image: NDArray[np.uint8]) -> Track:
        side = _context_side(self._size)
        scale = TEMPLATE_SIDE / side  # crop pixels per image pixel, the same in both crops
        crop = self._crop(image, side * SEARCH_SIDE / TEMPLATE_SIDE, SEARCH_SIDE)
        features = self._backbone.run(None, {self._input: _as_input(crop)})[0]
        logits, distances = self._head.run(None, dict(zip(self._inputs, (self._template, features), strict=True)))
        scores = 1 / (1 + np.exp(logits[0, 0] - logits[0, 1]))  # softmax of two: (G, G)
        left, top, right, bottom = distances[0]
        width, height = left + right, top + bottom

        old = self._size * scale
        resized = _change(_padded_size(width, height) / _padded_size(*old))
        reshaped = _change((old[0] / old[1]) / (width / height))
        penalty = np.exp(-(resized * reshaped - 1) * PENALTY)
        ranked = penalty * scores * (1 - WINDOW) + self._window * WINDOW
        row, column = np.unravel_index(int(np.argmax(ranked)), ranked.shape)

        at = row, column
        shift = (
            self._points[column] + (right[at] - left[at]) / 2,
            self._points[row] + (bottom[at] - top[at]) / 2,
        )
        rate = penalty[at] * scores[at] * SIZE_RATE
        found = np.array([width[at], height[at]]) / scale
        limits = np.array(size_of(image), dtype=np.float64)
        self._centre = np.clip(self._centre + np.array(shift) / scale, 0, limits)
        self._size = np.clip(self._size * (1 - rate) + found * rate, SMALLEST_SIDE_PX, limits)
        x, y = (self._centre - self._size / 2).tolist()
        w, h = self._size.tolist()
        return Track((x, y, w, h), float(scores[at]), TrackState.TRACKED)

    def _crop(self, image: NDArray[np.uint8], side: float, pixels: int) -> NDArray[np.uint8]:
        """A square of `side` image pixels around the centre: (pixels, pixels, 3). Outside: frame 1's mean colour."""
        whole = max(round(side), 2)
        left, top = (int(v) for v in np.floor(self._centre - (whole - 1) / 2 + 0.5))
        width, height = size_of(image)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + whole, width), min(top + whole, height)
        if (x1 - x0, y1 - y0) == (whole, whole):
            patch = image[y0:y1, x0:x1]
        else:
            patch = np.empty((whole, whole, 3), np.uint8)
            patch[:] = self._mean
            if x1 > x0 and y1 > y0:
                patch[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
        return np.asarray(cv2.resize(patch, (pixels, pixels)), dtype=np.uint8)


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), quiet_settings(), providers=["CPUExecutionProvider"])


def _as_input(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)


def _context_side(size: NDArray[np.float64]) -> float:
    """Side of the template's window, image pixels: the target with context around it."""
    w, h = size + CONTEXT * size.sum()
    return math.sqrt(w * h)


def _padded_size(width: NDArray[np.float64], height: NDArray[np.float64]) -> NDArray[np.float64]:
    pad = (width + height) / 2
    return np.sqrt((width + pad) * (height + pad))


def _change(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ratio or its inverse, whichever is above 1."""
    return np.maximum(ratio, 1 / ratio)
