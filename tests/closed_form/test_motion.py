"""The target's motion: where it is expected, how far from there it may be."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from edge_tracker.boxes import Box
from edge_tracker.closed_form.motion import NARROWEST, SPREADS, UNKNOWN, Motion


def moved(places: list[tuple[float, float]], size: tuple[float, float] = (20.0, 80.0)) -> tuple[Motion, Box]:
    """A target of sqrt(w h) = 40 that went through these places."""
    motion = Motion()
    boxes: list[Box] = [(x, y, *size) for x, y in places]
    for before, after in pairwise(boxes):
        motion.follow(before, after)
    return motion, boxes[-1]


def test_what_moves_evenly_is_expected_a_step_further_and_nowhere_else() -> None:
    motion, last = moved([(7.0 * k, -3.0 * k) for k in range(60)])
    dx, dy, sigma = motion.expected(last)
    assert (dx, dy) == pytest.approx((7, -3), abs=0.05)
    assert sigma == pytest.approx(40 * NARROWEST)


def test_what_has_just_been_given_may_be_anywhere_near() -> None:
    motion, last = moved([(0.0, 0.0)])
    assert motion.expected(last) == pytest.approx((0, 0, 40 * SPREADS * UNKNOWN))


def test_what_moves_in_leaps_may_be_farther_the_longer_they_are() -> None:
    widths = []
    for leap in (0.0, 4.0, 12.0):
        random = np.random.default_rng(0)
        motion, last = moved([tuple(p) for p in (leap * random.normal(size=(200, 2))).tolist()])
        widths.append(motion.expected(last).sigma)
    assert widths[0] < widths[1] < widths[2]
    # A place drawn anew in each frame departs from the mean velocity by sqrt(2) of its deviation, and a little.
    assert widths[2] == pytest.approx(SPREADS * 12 * math.sqrt(2), rel=0.35)


def test_it_goes_with_the_size_of_the_target() -> None:
    small, of_small = moved([(float(k), 0.0) for k in range(30)], (10.0, 10.0))
    large, of_large = moved([(5.0 * k, 0.0) for k in range(30)], (50.0, 50.0))
    assert np.array(large.expected(of_large)) == pytest.approx(5 * np.array(small.expected(of_small)))


def test_one_wild_frame_does_not_throw_it_off() -> None:
    motion, last = moved([(0.0, 0.0)] * 40 + [(4000.0, 0.0)])
    dx, _, sigma = motion.expected(last)
    assert 0 < dx < 40
    assert sigma < 40 * 3
