from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tracker.boxes import as_box, from_one_based, iou, keep_in_frame, to_one_based, turned
from edge_tracker.errors import BoxError, EdgeTrackerError

FRAME = (320, 240)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((1, 2, 0, 5), "no area"),
        ((1, 2, 5, -1), "no area"),
        ((np.nan, 2, 5, 5), "not finite"),
        ((1, 2, np.inf, 5), "not finite"),
        ((320, 10, 5, 5), "outside the 320x240 image"),
        ((-10, 10, 10, 5), "outside"),
        ((10, 10, 5), "four numbers"),
        ("abcd", "four numbers"),
        (None, "four numbers"),
    ],
)
def test_a_box_that_is_none_is_refused(values: object, says: str) -> None:
    with pytest.raises(BoxError, match=says):
        as_box(values, FRAME)  # type: ignore[arg-type]


def test_a_box_half_outside_is_taken() -> None:
    assert as_box(np.array([-5, -5, 10, 10]), FRAME) == (-5, -5, 10, 10)


def test_box_errors_are_ours_and_value_errors() -> None:
    assert issubclass(BoxError, EdgeTrackerError)
    assert issubclass(BoxError, ValueError)


def test_one_based_and_back() -> None:
    boxes = np.array([[1.0, 1.0, 10.0, 20.0]])
    np.testing.assert_array_equal(from_one_based(boxes), [[0, 0, 10, 20]])
    np.testing.assert_array_equal(to_one_based(from_one_based(boxes)), boxes)


def test_iou_by_counting_pixels() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        a, b = (np.append(random.integers(0, 20, 2), random.integers(1, 20, 2)).astype(float) for _ in range(2))
        grid = np.zeros((2, 40, 40), bool)
        for mask, (x, y, w, h) in zip(grid, (a.astype(int), b.astype(int)), strict=True):
            mask[y : y + h, x : x + w] = True
        assert iou(a, b) == pytest.approx((grid[0] & grid[1]).sum() / (grid[0] | grid[1]).sum())


def test_iou_of_empty_boxes_is_zero() -> None:
    assert iou(np.zeros(4), np.zeros(4)) == 0


sides = st.floats(0.01, 5000)


@given(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), sides, sides))
def test_a_tracked_box_stays_usable(box: tuple[float, float, float, float]) -> None:
    x, y, w, h = keep_in_frame(box, FRAME, min_side=2.0)
    assert -1e-6 <= x + w / 2 <= 320 + 1e-6
    assert -1e-6 <= y + h / 2 <= 240 + 1e-6
    assert 2 <= w <= 320 + 1e-6
    assert 2 <= h <= 240 + 1e-6


def test_a_box_inside_is_left_alone() -> None:
    assert keep_in_frame((10.5, 20.25, 30, 40), FRAME) == pytest.approx((10.5, 20.25, 30, 40))


@given(st.floats(-4, 4), st.floats(-1, 1), sides, sides)
def test_a_turned_box_holds_the_turned_ellipse(angle: float, stretch: float, w: float, h: float) -> None:
    around = np.linspace(0, 2 * np.pi, 4001)
    c, s = np.cos(angle), np.sin(angle)
    points = np.array([[c, -s], [s, c]]) @ np.array([w / 2 * np.cos(around), h / 2 * np.sin(around)])
    points *= np.exp([[stretch / 2], [-stretch / 2]])
    x, y, wide, high = turned((10 - w / 2, 20 - h / 2, w, h), angle, stretch)
    assert (x + wide / 2, y + high / 2) == pytest.approx((10, 20), abs=1e-6)
    assert (wide, high) == pytest.approx(np.ptp(points, axis=1), rel=1e-4)


def test_a_quarter_turn_exchanges_the_sides() -> None:
    assert turned((0, 0, 40, 20), np.pi / 2) == pytest.approx((10, -10, 20, 40))
