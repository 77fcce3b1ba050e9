"""Candidate boxes, drawn around the last box and scored on the prediction map (FMST paper, 2.2.3, 2.2.4, Eq. 12)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre

SMALLEST_FACTOR = 0.1  # lower limit of a drawn size factor: below 0 the box would have a negative size


def draw_candidates(
    box: Box,
    generator: np.random.Generator,
    count: int,
    sigma_xy: float,
    sigma_wh: float,
    mean_size: float,
) -> NDArray[np.float64]:
    """Eq. 7, 8, 9 and 12: `count` boxes (count, 4) around `box`, Gaussian in position and size, with its aspect.

    The standard deviation of the position is sigma_xy max(w, h) per axis. The size is multiplied by
    N(mean_size, sigma_wh).
    """
    x, y, w, h = box
    draws = generator.standard_normal((count, 3))
    centres = np.array([x + w / 2, y + h / 2]) + draws[:, :2] * (sigma_xy * max(w, h))
    candidates = np.empty((count, 4))
    candidates[:, 2:] = np.maximum(mean_size + sigma_wh * draws[:, 2:], SMALLEST_FACTOR) * np.array([w, h])
    candidates[:, :2] = centres - candidates[:, 2:] / 2
    return candidates


def candidate_scores(values: NDArray[np.float32], candidates: NDArray[np.float64], b: float) -> NDArray[np.float64]:
    """Eq. 10: the integral of (map - b) over each candidate. `values` (H, W), `candidates` (n, 4) in cells -> (n,).

    The integral image is read bilinearly. This is the exact integral of a map that is constant in each cell, so the
    score changes with the candidate's edges inside a cell. Outside the map the integrand is 0.
    """
    height, width = values.shape
    integral = np.zeros((height + 1, width + 1))
    np.cumsum(np.cumsum(values - b, axis=0, dtype=np.float64), axis=1, out=integral[1:, 1:])
    corners = candidates.T.copy()  # left, top, right, bottom; (4, n): the long axis is innermost
    corners[2:] += corners[:2]
    limits = np.array([[width], [height], [width], [height]])
    corners = np.minimum(np.maximum(corners, 0), limits)
    cells = np.minimum(corners.astype(np.intp), limits - 1)
    within = corners - cells
    u, v = within[None, 0::2], within[1::2, None]  # along x: left, right; along y: top, bottom
    flat, start = integral.ravel(), cells[1::2, None] * (width + 1) + cells[None, 0::2]  # (2, 2, n)
    four = start + np.array([0, 1, width + 1, width + 2])[:, None, None, None]  # the corners of each cell
    i00, i01, i10, i11 = flat.take(four)
    rest = 1 - u
    upper, lower = i00 * rest + i01 * u, i10 * rest + i11 * u
    (top_left, top_right), (bottom_left, bottom_right) = upper * (1 - v) + lower * v
    return bottom_right - top_right - bottom_left + top_left


def candidate_confidences(
    scores: NDArray[np.float64], candidates: NDArray[np.float64], previous: Box, reach: float
) -> NDArray[np.float64]:
    """Eq. 11: conf_i = (1 - d_i / D)(score_i - min score). All (n,).

    d_i is the distance of the candidate's centre from that of `previous`; D is `reach`, half the side of the ROI, in
    the same unit. A candidate beyond the reach gets 0; the formula would give it a negative value.
    """
    offsets = candidates[:, :2] + candidates[:, 2:] / 2 - np.array(centre(previous))
    distance = np.sqrt((offsets * offsets).sum(axis=1))
    return np.maximum(1 - distance / reach, 0) * (scores - scores.min())


def best_candidate(confidences: NDArray[np.float64], candidates: NDArray[np.float64], averaged: int) -> Box:
    """The mean of the `averaged` most confident candidates. The paper takes the best one: averaged = 1.

    The best of hundreds of draws is partly best by chance. The size feeds back into the next frame's window, so with
    one candidate it drifts with that chance.
    """
    best = np.argpartition(-confidences, averaged - 1)[:averaged]
    x, y, w, h = (candidates[best].sum(axis=0) / averaged).tolist()
    return x, y, w, h
