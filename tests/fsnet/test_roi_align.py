"""RoIAlign and RoIPool against loops over single points and cells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_tracker.fsnet.roi_align import BINS, roi_align, roi_pool


def bilinear(map_: np.ndarray, x: float, y: float) -> float:
    """One value of one map (H, W), the border going on beyond it."""
    height, width = map_.shape
    x0, y0 = math.floor(x), math.floor(y)

    def at(row: int, column: int) -> float:
        return float(map_[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])

    fx, fy = x - x0, y - y0
    top = (1 - fx) * at(y0, x0) + fx * at(y0, x0 + 1)
    bottom = (1 - fx) * at(y0 + 1, x0) + fx * at(y0 + 1, x0 + 1)
    return (1 - fy) * top + fy * bottom


def boxes_in_32nds(random: np.random.Generator, count: int, points: int) -> np.ndarray:
    """Boxes in cells, some beyond the maps, whose sampled points fall on 32nds of a cell, as OpenCV takes them."""
    sides = random.integers(1, 40, (count, 2)) * (2 * BINS * points) / 32
    corners = random.integers(-4 * 32, 12 * 32, (count, 2)) / 32
    return np.concatenate([corners, sides], axis=1)


@pytest.mark.parametrize("points", [1, 2, 3])
def test_align_is_the_largest_interpolated_point_of_each_bin(points: int) -> None:
    random = np.random.default_rng(points)
    maps = random.normal(size=(9, 13, 5)).astype(np.float32)
    boxes = boxes_in_32nds(random, 70, points)
    found = roi_align(maps, boxes, points).reshape(70, BINS, BINS, 5)
    for number in (0, 1, 33, 69):
        x, y, w, h = boxes[number]
        for row in range(BINS):
            for column in range(BINS):
                for channel in range(5):
                    values = [
                        bilinear(
                            maps[..., channel],
                            x + (column + (i + 0.5) / points) * w / BINS,
                            y + (row + (j + 0.5) / points) * h / BINS,
                        )
                        for i in range(points)
                        for j in range(points)
                    ]
                    assert found[number, row, column, channel] == pytest.approx(max(values), abs=1e-5)


def test_align_takes_more_channels_than_opencv_samples_at_once() -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=(9, 13, 300)).astype(np.float32)
    boxes = boxes_in_32nds(random, 40, 2)
    found = roi_align(maps, boxes).reshape(40, -1, 300)
    for channel in (0, 127, 128, 255, 256, 299):
        alone = roi_align(np.ascontiguousarray(maps[..., channel : channel + 1]), boxes)
        np.testing.assert_allclose(found[..., channel], alone, atol=1e-6)


def test_a_shift_by_a_part_of_a_cell_changes_align_but_not_pool() -> None:
    maps = np.random.default_rng(0).normal(size=(20, 20, 8)).astype(np.float32)
    box, shifted = np.array([[3.0, 3.0, 9.0, 9.0]]), np.array([[3.25, 3.0, 9.0, 9.0]])
    assert not np.array_equal(roi_align(maps, box), roi_align(maps, shifted))
    np.testing.assert_array_equal(roi_pool(maps, box), roi_pool(maps, shifted))


def test_pool_is_the_largest_cell_of_each_bin() -> None:
    random = np.random.default_rng(1)
    maps = random.normal(size=(9, 13, 4)).astype(np.float32)
    boxes = np.concatenate([random.uniform(-4, 12, (60, 2)), random.uniform(0.2, 12, (60, 2))], axis=1)
    found = roi_pool(maps, boxes).reshape(60, BINS, BINS, 4)
    for number, (x, y, w, h) in enumerate(boxes):
        cells = []
        for start, side, size in ((y, h, 9), (x, w, 13)):
            first, last = round(start), max(round(start + side), round(start) + 1)
            spans = []
            for k in range(BINS):
                low = math.floor(first + (last - first) * k / BINS)
                high = math.ceil(first + (last - first) * (k + 1) / BINS)
                low = min(max(low, 0), size - 1)
                spans.append(range(low, min(max(high, low + 1), size)))
            cells.append(spans)
        for row in range(BINS):
            for column in range(BINS):
                values = [maps[i, j] for i in cells[0][row] for j in cells[1][column]]
                np.testing.assert_array_equal(found[number, row, column], np.max(values, axis=0))
