"""Fixed-size features of many boxes on one set of maps: max-RoIAlign and, as its ablation, RoIPool (III-B, Fig. 2, 8).

ONNX's own RoiAlign is no oracle for the first: its mode "max" takes the largest *weighted corner* of all points, not
the largest interpolated value (onnxruntime issue 6146).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_tracker.roi import sample

BINS, POINTS = 3, 2  # along each side: of a box, and sampled in each bin
CELLS = BINS * BINS
CHUNK_BOXES = 32  # sampled at once, so that they stay in the cache
MOST_CHANNELS = 128  # that OpenCV 5 samples at once; of more it returns nonsense, without an error


def roi_align(features: NDArray[np.float32], boxes: NDArray[np.float64], points: int = POINTS) -> NDArray[np.float32]:
    """Max-RoIAlign: of each of BINS x BINS bins, the largest of points x points bilinear samples, map by map.

    features (H, W, C); boxes (m, 4) in cells, cell centres at whole numbers; beyond the maps the border goes on
    -> (m, BINS BINS C), channels last. Places are taken to 1/32 of a cell.
    """
    channels = features.shape[-1]
    out = np.empty((len(boxes), BINS, BINS, channels), np.float32)
    for first in range(0, channels, MOST_CHANNELS):
        part = np.ascontiguousarray(features[..., first : first + MOST_CHANNELS])
        for start in range(0, len(boxes), CHUNK_BOXES):
            chunk = boxes[start : start + CHUNK_BOXES]
            values = sample(part, chunk, BINS * points, 1.0)
            values = values.reshape(len(chunk), BINS, points, BINS, points, part.shape[-1])
            rows = values[:, :, 0]
            for k in range(1, points):
                rows = np.maximum(rows, values[:, :, k])
            best = out[start : start + CHUNK_BOXES, ..., first : first + MOST_CHANNELS]
            best[...] = rows[:, :, :, 0]
            for k in range(1, points):
                np.maximum(best, rows[:, :, :, k], out=best)
    return out.reshape(len(boxes), -1)


def roi_pool(features: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """RoIPool (Girshick 2015): borders rounded to whole cells, the largest value of each of BINS x BINS bins.

    Shapes as in `roi_align`. A bin holds at least one cell, and what lies beyond the maps is drawn to their border.
    """
    height, width, _ = features.shape
    x, y, w, h = boxes.T
    columns = _bin_cells(x, w, width)
    rows = _bin_cells(y, h, height)
    out = np.empty((len(boxes), BINS, BINS, features.shape[-1]), np.float32)
    for i in range(len(boxes)):
        for r in range(BINS):
            strip = features[rows[i, r, 0] : rows[i, r, 1]].max(axis=0)
            for c in range(BINS):
                strip[columns[i, c, 0] : columns[i, c, 1]].max(axis=0, out=out[i, r, c])
    return out.reshape(len(boxes), -1)


def _bin_cells(start: NDArray[np.float64], side: NDArray[np.float64], cells: int) -> NDArray[np.intp]:
    """First cell and the one after the last of each bin along one side: (m, BINS, 2)."""
    first, last = np.rint(start), np.maximum(np.rint(start + side), np.rint(start) + 1)
    edges = first[:, None] + (last - first)[:, None] * np.arange(BINS + 1) / BINS
    low = np.clip(np.floor(edges[:, :-1]), 0, cells - 1)
    high = np.clip(np.ceil(edges[:, 1:]), low + 1, cells)
    return np.stack([low, high], axis=-1).astype(np.intp)
