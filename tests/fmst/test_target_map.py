"""Target maps against a painted picture of the same box, 40 points per cell side."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.fmst.target_map import coverage, target_map

FINE = 40


def painted(box: Box, grid: tuple[int, int]) -> NDArray[np.float64]:
    """Share of a cell's points that lie in the box."""
    x, y, w, h = box
    rows = (np.arange(grid[0] * FINE) + 0.5) / FINE
    columns = (np.arange(grid[1] * FINE) + 0.5) / FINE
    inside = ((rows >= y) & (rows < y + h))[:, None] & ((columns >= x) & (columns < x + w))
    return inside.reshape(grid[0], FINE, grid[1], FINE).mean(axis=(1, 3))


BOXES = [
    (4.0, 5.0, 3.0, 2.0),
    (4.3, 5.7, 3.45, 2.2),
    (-2.0, 3.1, 5.0, 20.0),
    (6.2, 6.3, 0.3, 0.2),
    (20.0, 1.0, 2.0, 2.0),
]


@pytest.mark.parametrize("box", BOXES)
def test_coverage_equals_painting(box: Box) -> None:
    np.testing.assert_allclose(coverage(box, (14, 12)), painted(box, (14, 12)), atol=0.06)


def test_coverage_keeps_the_area() -> None:
    assert coverage((3.21, 4.56, 2.5, 1.75), (14, 14)).sum() == pytest.approx(2.5 * 1.75, rel=1e-6)


@pytest.mark.parametrize("box", BOXES)
def test_type_c_is_one_inside_and_minus_one_everywhere_else(box: Box) -> None:
    inside = painted(box, (14, 14))
    np.testing.assert_allclose(target_map("C", box, (14, 14)), inside - (1 - inside), atol=0.12)


@pytest.mark.parametrize("box", BOXES)
def test_type_s_is_minus_one_only_in_the_doubled_box(box: Box) -> None:
    x, y, w, h = box
    inside = painted(box, (14, 14))
    doubled = painted((x - w / 2, y - h / 2, 2 * w, 2 * h), (14, 14))
    np.testing.assert_allclose(target_map("S", box, (14, 14)), inside - (doubled - inside), atol=0.18)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="type S or C"):
        target_map("SC", (1, 1, 2, 2), (14, 14))
