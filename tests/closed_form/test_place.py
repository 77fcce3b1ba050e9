"""Where the target is: what the filter answers, when and how much it learns, and where the prior leads it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre
from edge_tracker.closed_form.config import ClosedFormConfig, PlaceSettings
from edge_tracker.closed_form.first_frame import changed_views, latin_hypercube, turned_views
from edge_tracker.closed_form.motion import Expected
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.place import Place, over_frames
from edge_tracker.closed_form.response_map import PITCH_PX
from edge_tracker.closed_form.view import View
from edge_tracker.roi import Window
from tests.clips import Pose, act
from tests.closed_form.conftest import See

HOME = Pose(160, 120)
QUICK = ClosedFormConfig(place=PlaceSettings(views=0, rate=0.3, learn_every=1, anchor=0.1))  # learns much of a frame


def started(optics: Optics, see: See, config: ClosedFormConfig, pose: Pose = HOME) -> Place:
    place = Place(optics, config)
    image = act([pose]).images[0]
    changed = changed_views(optics, image, pose.box, config.place.views, np.random.default_rng(0))
    place.start(*see(image, pose.box), changed)
    return place


def height_there(place: Place, view: View, box: Box) -> float:
    """The response in the middle of the box."""
    column, row = (round(v / PITCH_PX) for v in centre(box))
    return float(place.find(view).response[row, column])


@pytest.mark.parametrize("moved", [(0, 0), (9, -6), (-14, 11)])
def test_the_peak_lies_on_the_target(moved: tuple[int, int], optics: Optics, see: See) -> None:
    place = started(optics, see, ClosedFormConfig())
    now = Pose(HOME.x + moved[0], HOME.y + moved[1])
    view, _ = see(act([now]).images[0], HOME.box)  # it is looked for where it was
    found = place.find(view)
    x, y = centre(view.on_image(found.box(view.on_crop(HOME.box)[2:])))
    assert (x, y) == pytest.approx((now.x, now.y), abs=3.0)  # a fifth of a cell
    assert found.peak.height > 0.6


def test_it_learns_what_the_target_has_become(optics: Optics, see: See) -> None:
    place = started(optics, see, QUICK)
    view, box = see(act([replace(HOME, morph=1.0)]).images[0], HOME.box)
    before = height_there(place, view, box)
    for frame in range(1, 9):
        place.learn(view, box, 1.0, frame)
    assert height_there(place, view, box) > before + 0.1


def test_nothing_is_learned_through_a_closed_gate(optics: Optics, see: See) -> None:
    place = started(optics, see, QUICK)
    view, box = see(act([replace(HOME, morph=1.0)]).images[0], HOME.box)
    before = height_there(place, view, box)
    for frame in range(1, 9):
        place.learn(view, box, 0.0, frame)
    assert height_there(place, view, box) == pytest.approx(before, abs=0.02)  # the solver still closes in


@pytest.mark.parametrize(
    ("height", "share"), [(-1, 0), (0, 0), (0.1, 0), (0.175, 0.25), (0.25, 0.5), (0.4, 1), (0.9, 1)]
)
def test_the_gate_opens_between_its_two_heights(height: float, share: float, optics: Optics) -> None:
    config = ClosedFormConfig(place=PlaceSettings(gate_low=0.1, gate_high=0.4))
    assert Place(optics, config).gate(height) == pytest.approx(share)


def test_it_learns_in_every_third_frame_to_be_seen_one_later(optics: Optics, see: See) -> None:
    place = started(optics, see, ClosedFormConfig(place=PlaceSettings(views=0, rate=0.3)))
    view, box = see(act([replace(HOME, morph=1.0)]).images[0], HOME.box)
    heights = [height_there(place, view, box)]
    for frame in range(1, 8):
        place.learn(view, box, 1.0, frame)
        heights.append(height_there(place, view, box))
    learned = [abs(a - b) > 1e-3 for a, b in pairwise(heights)]
    assert learned == [False, False, False, True, False, False, True]  # frames 4 and 7


def test_a_share_of_frame_1_stays(optics: Optics, see: See) -> None:
    """However long something else was learned, the first look is still answered; without the anchor it is not."""
    heights = []
    for anchor in (0.0, 0.5):
        config = replace(QUICK, place=replace(QUICK.place, anchor=anchor))
        place = started(optics, see, config)
        first, box = see(act([HOME]).images[0], HOME.box)
        nothing, _ = see(act([replace(HOME, shown=False)], seed=8).images[0], HOME.box)
        for frame in range(1, 20):
            place.learn(nothing, (20.0, 20.0, 60.0, 60.0), 1.0, frame)
        heights.append(height_there(place, first, box))
    assert heights[1] > heights[0] + 0.3


@pytest.mark.parametrize(("sigma", "near"), [(0.2, True), (100.0, False)])
def test_of_two_alike_the_motion_prior_takes_the_nearer(sigma: float, near: bool, optics: Optics, see: See) -> None:
    """The nearer one looks less like the target."""
    config = ClosedFormConfig(place=PlaceSettings(motion_sigma=sigma))
    place = started(optics, see, config)
    image = act([replace(HOME, morph=0.4, twin=(HOME.x + 46, HOME.y))]).images[0]
    view, _ = see(image, HOME.box)
    found = place.find(view)
    x, _ = centre(view.on_image(found.box(view.on_crop(HOME.box)[2:])))
    assert x == pytest.approx(HOME.x if near else HOME.x + 46, abs=4)


@pytest.mark.parametrize("at_twin", [False, True])
def test_of_two_alike_the_one_where_it_is_expected_is_taken(at_twin: bool, optics: Optics, see: See) -> None:
    place = started(optics, see, ClosedFormConfig())
    view, _ = see(act([replace(HOME, twin=(HOME.x + 46, HOME.y))]).images[0], HOME.box)
    found = place.find(view, Expected(46.0 if at_twin else 0.0, 0.0, 15.0))
    x, _ = centre(view.on_image(found.box(view.on_crop(HOME.box)[2:])))
    assert x == pytest.approx(HOME.x + 46 * at_twin, abs=4)


def test_a_turned_target_is_known_by_the_changed_views(optics: Optics, see: See) -> None:
    means = []
    for views in (0, PlaceSettings().views):
        place = started(optics, see, ClosedFormConfig(place=PlaceSettings(views=views)))
        looks = [see(act([replace(HOME, turn=turn)]).images[0], HOME.box) for turn in (-1.1, -0.7, 0.7, 1.1)]
        means.append(np.mean([height_there(place, *look) for look in looks]))
    assert means[1] > means[0] + 0.03


def sharpness(patch: NDArray[np.uint8]) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY), cv2.CV_32F).std())


def red(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (patch[..., 2].astype(int) - patch[..., 0] > 60).astype(np.uint8)


def coloured_box(patch: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Around what is red."""
    x, y, w, h = cv2.boundingRect(red(patch))
    return x, y, w, h


@pytest.fixture(scope="module")
def changed() -> tuple[NDArray[np.uint8], Box]:
    """A red ellipse on fine grey noise, and its box."""
    grey = np.random.default_rng(0).integers(90, 150, (240, 320, 1), dtype=np.uint8)
    image = np.repeat(grey, 3, axis=2)
    cv2.ellipse(image, (160, 120), (36, 18), 0, 0, 360, (20, 20, 230), -1, cv2.LINE_AA)
    return image, (124.0, 102.0, 72.0, 36.0)


def test_changed_views_state_where_the_target_lies_in_them(
    changed: tuple[NDArray[np.uint8], Box], optics: Optics
) -> None:
    views = list(changed_views(optics, *changed, 20, np.random.default_rng(0)))
    assert len(views) == 20
    whole = [(v, b) for v, b in views if min(b[:2]) > 20 and max(b[0] + b[2], b[1] + b[3]) < optics.side - 20]
    assert len(whole) >= 6
    for view, box in whole:
        found = coloured_box(view.patch)
        assert centre(found) == pytest.approx(centre(box), abs=1.5)
        assert found[2:] == pytest.approx(box[2:], abs=5)


def test_changed_views_are_shifted_turned_and_stretched(changed: tuple[NDArray[np.uint8], Box], optics: Optics) -> None:
    boxes = np.array([box for _, box in changed_views(optics, *changed, 20, np.random.default_rng(0))])
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    assert (centres.std(axis=0) > 0.1 * optics.side).all()
    assert (np.abs(centres - optics.middle_px).max(axis=0) > 0.2 * optics.side).all()
    ratio = np.log(boxes[:, 2] / boxes[:, 3])
    assert ratio.std() > 0.25
    assert ratio.max() - ratio.min() > 1.0


def test_changed_views_are_turned(changed: tuple[NDArray[np.uint8], Box], optics: Optics) -> None:
    """The axes of the ellipse no longer lie along the sides of the picture."""
    slants = []
    for view, _ in changed_views(optics, *changed, 20, np.random.default_rng(0)):
        m = cv2.moments(red(view.patch), binaryImage=True)
        slants.append(m["mu11"] / max(1.0, np.sqrt(m["mu20"] * m["mu02"])))
    assert max(slants) > 0.2
    assert min(slants) < -0.2


def test_turned_views_turn_by_equal_parts(changed: tuple[NDArray[np.uint8], Box], optics: Optics) -> None:
    views = list(turned_views(optics, *changed, 8))
    assert len(views) == 7
    for part, (view, box) in enumerate(views, start=1):
        found = coloured_box(view.patch)
        assert centre(found) == pytest.approx(centre(box), abs=1.5)
        assert found[2:] == pytest.approx(box[2:], abs=5)
        m = cv2.moments(red(view.patch), binaryImage=True)
        slant = 0.5 * np.arctan2(2 * m["mu11"], m["mu20"] - m["mu02"])  # of the long axis, up to half a turn
        assert np.cos(2 * (slant - 2 * np.pi * part / 8)) > 0.98


def test_every_fourth_changed_view_is_blurred(changed: tuple[NDArray[np.uint8], Box], optics: Optics) -> None:
    sharp = np.array([sharpness(v.patch) for v, _ in changed_views(optics, *changed, 20, np.random.default_rng(0))])
    blurred = np.arange(20) % 4 == 3
    assert sharp[blurred].max() < 0.5 * sharp[~blurred].min()


@pytest.mark.parametrize("count", [0, 1, 20])
def test_chances_of_the_views_cover_all_there_is(count: int) -> None:
    points = latin_hypercube(np.random.default_rng(0), count, 5)
    assert points.shape == (count, 5)
    assert ((points > 0) & (points < 1)).all()
    for line in points.T:
        np.testing.assert_array_equal(np.sort((line * count).astype(int)), np.arange(count))


@pytest.mark.parametrize(("rate", "frames"), [(0.02, 1), (0.02, 3), (0.5, 2), (1.0, 4), (0.0, 4)])
def test_one_step_of_several_frames_is_as_long_as_theirs(rate: float, frames: int) -> None:
    value = 0.0
    for _ in range(frames):
        value += rate * (1 - value)
    assert over_frames(rate, frames) == pytest.approx(value)


def test_a_view_converts_boxes_there_and_back(see: See) -> None:
    view, box = see(act([HOME]).images[0], HOME.box)
    assert isinstance(view.window, Window)
    assert view.on_image(box) == pytest.approx(HOME.box)
    assert centre(box) == pytest.approx((len(view.patch) / 2,) * 2, abs=9)
