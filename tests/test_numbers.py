"""Every number that a caller can pass: taken, or one clear error of ours, never a traceback of something else."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_tracker import ClosedFormConfig, FmstConfig, Tracker
from edge_tracker.boxes import LARGEST_PX, SMALLEST_PX, as_box, iou, keep_in_frame, rescaled
from edge_tracker.closed_form.config import BeliefSettings, BoxSettings, PlaceSettings
from edge_tracker.errors import BoxError, ConfigError, EdgeTrackerError
from edge_tracker.methods import prepare
from edge_tracker.roi import Window, crop, window_around
from edge_tracker.settings import assign, hints, names_of
from tests.clips import Pose, act

GROUPS = (
    ClosedFormConfig,
    PlaceSettings,
    BoxSettings,
    BeliefSettings,
    FmstConfig,
)
FIELDS = [(group, name) for group in GROUPS for name in hints(group)]
SIZE = (64, 48)

numbers = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([1e200, 1e-300, 5e-324, 1e-5, -0.0, 10**400, 2**63, 2**63 - 1, math.nan, math.inf]),
    st.booleans(),
)
anything = st.one_of(
    numbers,
    st.none(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.sampled_from(
        [
            np.float32(0.3),
            np.float64(math.nan),
            np.int64(7),
            np.uint8(200),
            np.bool_(True),
            np.array(0.4),
            np.array([0.1, 0.2, 0.3]),
            Fraction(1, 3),
            1j,
            object(),
            {},
            {"rate": 0.1},
        ]
    ),
    st.lists(numbers, max_size=4),
    st.tuples(numbers, numbers, numbers),
)


def one_line(error: EdgeTrackerError) -> None:
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(("group", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
@settings(max_examples=40, deadline=None)
@given(value=anything)
def test_a_setting_is_a_plain_value_in_its_range_or_refused(group: type, name: str, value: Any) -> None:
    try:
        made = group(**{name: value})
    except ConfigError as error:
        one_line(error)
        return
    kept = getattr(made, name)
    for number in kept if isinstance(kept, tuple) else (kept,):
        assert number is None or type(number) in (int, float, str) or dataclasses.is_dataclass(number)
        assert not isinstance(number, float) or math.isfinite(number)


@pytest.mark.parametrize("made", [ClosedFormConfig(), FmstConfig()], ids=["closed form", "fmst"])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_setting_by_name_is_in_its_range_or_refused(made: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*names_of(type(made)), "fine", "belief", "seed.x", "x", "", "belief.", "."]))
    value = data.draw(st.one_of(numbers.map(str), st.text(max_size=8), st.just("none"), st.just("1,2,3")))
    try:
        changed = assign(made, [f"{name}={value}"])
    except ConfigError as error:
        one_line(error)
    else:
        assert type(changed) is type(made)


@settings(max_examples=500, deadline=None)
@given(st.one_of(anything, st.lists(anything, min_size=4, max_size=4), st.tuples(*[numbers] * 4)))
@example((0, 0, 1e200, 1e200))
@example((0, 0, 1e-300, 20))
@example((5, 5, 1e-5, 20))
@example((np.int64(3), np.float32(4), np.uint8(10), 12))
@example(["3", "4", "10", "12"])
@example((True, True, True, True))
@example((10**400, 1, 10, 10))
@example((2**70, 1, 10, 10))
@example(np.zeros((4, 4)))
@example([[1, 2, 3, 4], [5]])
def test_a_box_is_four_floats_that_overlap_the_image_or_refused(values: Any) -> None:
    try:
        x, y, w, h = as_box(values, SIZE)
    except BoxError as error:
        one_line(error)
        return
    assert all(type(v) is float and math.isfinite(v) for v in (x, y, w, h))
    assert min(w, h) >= SMALLEST_PX
    assert max(w, h) <= LARGEST_PX
    assert x < SIZE[0]
    assert x + w > 0


@pytest.mark.parametrize(
    "values", [[3, 4, 10, 12], (3.0, 4.0, 10.0, 12.0), np.array([3, 4, 10, 12], np.uint8), [np.int64(3), 4, 10.0, 12]]
)
def test_numbers_of_any_kind_make_the_same_box(values: Any) -> None:
    assert as_box(values, SIZE) == (3.0, 4.0, 10.0, 12.0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0.2, 0.3, 0.1, 0.1), "in pixels, not in shares"),
        ((0, 0, 1e200, 1e200), "larger than"),
        (["3", "4", "10", "12"], "four numbers"),
        ((1, 2, 3, 4j), "four numbers"),
        (np.zeros((50, 50)), "four numbers"),
    ],
)
def test_what_is_wrong_with_a_box_is_said(values: Any, says: str) -> None:
    with pytest.raises(BoxError, match=says):
        as_box(values, SIZE)


sides = st.one_of(st.floats(SMALLEST_PX, LARGEST_PX), st.sampled_from([SMALLEST_PX, LARGEST_PX, 1.0]))
places = st.floats(-LARGEST_PX, LARGEST_PX)


@settings(max_examples=300, deadline=None)
@given(st.tuples(places, places, st.floats(0, 1e300), st.floats(0, 1e300)), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_a_box_of_any_size_is_brought_into_the_frame(box: Any, kx: float, ky: float) -> None:
    for x, y, w, h in (keep_in_frame(box, SIZE, 2.0), rescaled(box, kx, ky, SIZE)):
        assert -1e-6 <= x + w / 2 <= SIZE[0] + 1e-6
        assert -1e-6 <= y + h / 2 <= SIZE[1] + 1e-6
        assert 1 <= w <= SIZE[0] + 1e-6
        assert 1 <= h <= SIZE[1] + 1e-6


@settings(max_examples=200, deadline=None)
@given(places, places, sides, sides, st.sampled_from([32, 192]))
def test_any_window_gives_a_crop_of_its_side(x: float, y: float, w: float, h: float, side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for window in (window_around((x, y, w, h), 3.0), Window(round(x), round(y), max(1, round(w)))):
        found = crop(image, window, side)
        assert found.shape == (side, side, 3)
        assert found.dtype == np.uint8


@pytest.fixture(scope="module", params=["accurate", "fast", "fmst"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    few = {"accurate": ["place.views=0"], "fast": ["place.views=0"], "fmst": ["candidates=20"]}
    return Tracker(request.param, "edge-small", settings=few[request.param])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(st.one_of(st.floats(-200, 320), places), st.one_of(st.floats(-200, 240), places), sides, sides))
@example((0, 0, LARGEST_PX, LARGEST_PX))
@example((0, 0, LARGEST_PX, SMALLEST_PX))
@example((10, 10, SMALLEST_PX, LARGEST_PX))
@example((10, 10, SMALLEST_PX, SMALLEST_PX))
@example((319.9999, 239.9999, 1, 1))
@example((-0.999999, -0.999999, 1, 1))
def test_a_tracker_takes_any_box_or_refuses_it_and_keeps_its_target(tracker: Tracker, box: Any) -> None:
    clip = act([Pose(160, 120)] * 3)
    tracker.init(clip.images[0], clip.first_box)
    try:
        tracker.init(clip.images[0], box)
    except BoxError as error:
        one_line(error)
        assert iou(np.array(tracker.update(clip.images[1]).box), clip.boxes[1]) > 0.5
        return
    for image in clip.images[1:]:
        track = tracker.update(image)
        assert np.isfinite([*track.box, track.confidence]).all()
        assert min(track.box[2:]) > 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"tracker": 3},
        {"tracker": None},
        {"tracker": "kfc"},
        {"model": 123},
        {"model": None},
        {"engine": 5},
        {"engine": None},
        {"threads": "2"},
        {"threads": 2.0},
        {"threads": True},
        {"threads": 0},
        {"threads": 10**9},
        {"threads": None},
        {"seed": "a"},
        {"seed": 1.5},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": float("nan")},
        {"models_dir": 7},
        {"settings": "seed=3"},
        {"settings": [3]},
        {"settings": 3},
        {"settings": None},
        {"config": 3},
        {"config": {"seed": 3}},
        {"config": ClosedFormConfig},
        {"tracker": "accurate", "config": "x"},
        {"weight_network": 3},
        {"tracker": "fmst-net", "weight_network": 3},
    ],
    ids=str,
)
def test_an_argument_of_a_tracker_that_makes_no_sense_is_one_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(**{"model": "edge-small", **arguments})
    one_line(caught.value)
