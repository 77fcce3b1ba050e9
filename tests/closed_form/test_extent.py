"""How large the target is: what corrects the box, how far, and what each part learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_tracker.boxes import Box, iou, moved_by, scaled
from edge_tracker.closed_form.config import FAST, BoxSettings, ClosedFormConfig, PlaceSettings, ScaleSettings
from edge_tracker.closed_form.extent import LARGEST_CORRECTION, LARGEST_FACTOR, LARGEST_REFINEMENT, Extent
from edge_tracker.closed_form.first_frame import box_views
from edge_tracker.closed_form.head import Head
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.refiner import Correction, Refiner
from edge_tracker.closed_form.view import View
from tests.clips import Pose, act
from tests.closed_form.conftest import See

HOME = Pose(160, 120, 52, 40)
WHOLLY = BoxSettings(refiner_trust=(1e3, 1e3, 1e3), regressor_gain=(1, 1, 1))


def started(
    optics: Optics, head: Head, see: See, config: ClosedFormConfig, pose: Pose = HOME
) -> tuple[Extent, list[tuple[View, Box]]]:
    """An extent that knows frame 1, and the views it was shown."""
    random = np.random.default_rng(0)
    image = act([pose]).images[0]
    extent = Extent(optics, head, config, random)
    views = [see(image, pose.box), *box_views(optics, image, pose.box, extent.views, random)]
    extent.start(views, image, pose.box)
    return extent, views


def overlap(a: Box, b: Box) -> float:
    return float(iou(np.array(a), np.array(b)))


@pytest.mark.parametrize(
    "config", [ClosedFormConfig(box=WHOLLY), replace(FAST, box=WHOLLY)], ids=["refiner", "regressor"]
)
@pytest.mark.parametrize("delta", [(0.15, 0.0, 0, 0), (0, -0.15, 0, 0), (0, 0, 0.2, 0.2), (0, 0, -0.2, -0.2)])
def test_a_wrong_box_is_brought_back(
    config: ClosedFormConfig, delta: tuple[float, float, float, float], optics: Optics, head: Head, see: See
) -> None:
    extent, views = started(optics, head, see, config)
    view, right = views[0]
    wrong = moved_by(right, delta)
    assert overlap(extent.correct(view, wrong).box, right) > overlap(wrong, right) + 0.05


def test_the_share_that_is_corrected_goes_by_how_sure_the_refiner_is(
    optics: Optics, head: Head, see: See, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a Kalman filter: all of it where nothing is doubted, half where the doubt is the trust, none without trust;
    of position, size and aspect by themselves."""
    said = Correction(np.array([0.2, 0.0, 0.3, 0.1], np.float32), 1.0, np.array([0.1, 0.1, 0.06, 0.08], np.float32))
    monkeypatch.setattr(Refiner, "predict", lambda *_: said)
    for trust, shares in (
        ((1e3, 1e3, 1e3), (1, 1, 1)),
        ((0.1, 0.05, 0.1), (0.5, 0.5, 0.5)),
        ((0.0, 0.05, 0.0), (0, 0.5, 0)),
        ((0.0, 0.0, 0.1), (0, 0, 0.5)),
        ((0.0, 0.0, 0.0), (0, 0, 0)),
        ((0.2, 0.0, 0.0), (0.8, 0, 0)),
    ):
        extent, views = started(optics, head, see, ClosedFormConfig(box=BoxSettings(refiner_trust=trust)))
        view, box = views[0]
        corrected = extent.correct(view, box).box
        grown, stretched = shares[1] * 0.2, shares[2] * 0.1
        expected = moved_by(box, (shares[0] * 0.2, 0.0, grown + stretched, grown - stretched))
        np.testing.assert_allclose(corrected, expected, rtol=1e-4)


def test_what_the_refiner_says_of_right_boxes_in_frame_1_is_taken_off(optics: Optics, head: Head, see: See) -> None:
    """The corrections of the boxes that are right cancel; they would not with the network's own bias."""
    extent, views = started(optics, head, see, ClosedFormConfig(box=WHOLLY))
    errors = []
    for view, box in views[1:]:
        corrected, match = extent.correct(view, box)
        assert match > 0  # wholly believed
        errors.append([(corrected[k] + corrected[k + 2] / 2 - box[k] - box[k + 2] / 2) / box[k + 2] for k in (0, 1)])
        errors[-1] += np.log(np.array(corrected[2:]) / box[2:]).tolist()
    np.testing.assert_allclose(np.mean(errors, axis=0), 0, atol=1e-4)


def test_the_refiner_tells_the_target_from_what_is_none(optics: Optics, head: Head, see: See) -> None:
    extent, views = started(optics, head, see, ClosedFormConfig())
    assert extent.correct(*views[0]).match > 0.5
    nothing = see(act([replace(HOME, shown=False)]).images[0], HOME.box)
    assert extent.correct(*nothing).match < 0


def test_a_box_that_the_refiner_denies_is_hardly_corrected(optics: Optics, head: Head, see: See) -> None:
    """In size and aspect not at all; however large the error it speaks of."""
    extent, _ = started(optics, head, see, ClosedFormConfig(box=WHOLLY))
    view, box = see(act([replace(HOME, shown=False)]).images[0], HOME.box)
    corrected, match = extent.correct(view, box)
    assert match < -0.2
    np.testing.assert_allclose(corrected[2:], box[2:], rtol=0.05)


@pytest.mark.parametrize(
    ("config", "largest"),
    [(ClosedFormConfig(box=WHOLLY), LARGEST_REFINEMENT), (replace(FAST, box=WHOLLY), LARGEST_CORRECTION)],
    ids=["refiner", "regressor"],
)
def test_no_correction_is_larger_than_its_bound(
    config: ClosedFormConfig, largest: float, optics: Optics, head: Head, see: See
) -> None:
    extent, views = started(optics, head, see, config)
    view, right = views[0]
    for factor in (0.3, 0.5, 2.0, 3.0):
        wrong = scaled(right, factor)
        corrected = extent.correct(view, wrong).box
        assert np.abs(np.log(np.array(corrected[2:]) / wrong[2:])).max() <= largest + 1e-6


def test_the_regressor_learns_how_the_target_looks_now(optics: Optics, head: Head, see: See) -> None:
    extent, _ = started(optics, head, see, replace(FAST, box=WHOLLY))
    view, right = see(act([replace(HOME, morph=1.0, light=0.6)]).images[0], HOME.box)
    wrongs = [moved_by(right, delta) for delta in ((0.1, 0.1, 0.1, 0.1), (-0.1, 0.05, -0.1, -0.1), (0, -0.1, 0.15, 0))]

    def error() -> float:
        found = [np.abs(np.subtract(extent.correct(view, wrong).box, right)).mean() for wrong in wrongs]
        return float(np.mean(found))

    before = error()
    for frame in range(1, 20):
        extent.learn(view, right, None, 1.0, frame)
    assert error() == before  # not its turn
    for k in range(1, 11):
        extent.learn(view, right, None, 1.0, 20 * k)
    assert error() < 0.8 * before


def scale_alone(rate: float = 1.0, every: int = 1, **settings: float) -> ClosedFormConfig:
    return ClosedFormConfig(place=PlaceSettings(anchor=0.0), scale=ScaleSettings(rate=rate, every=every, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("gate", "learned"), [(1.0, True), (0.0, False)])
def test_the_scale_filter_learns_through_the_gate(
    gate: float, learned: bool, optics: Optics, head: Head, see: See
) -> None:
    """Told that the box was a step too small, it says so the next time."""
    extent, views = started(optics, head, see, scale_alone())
    image = act([HOME]).images[0]
    before = extent.growth(image, HOME.box, 1)
    assert before == pytest.approx(1, abs=0.01)
    extent.learn(*views[0], 1.06, gate, 1)
    after = extent.growth(image, HOME.box, 2)
    assert after == pytest.approx(1.06 if learned else before, abs=0.01)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_growth_has_the_direction_of_the_change(factor: float, optics: Optics, head: Head, see: See) -> None:
    extent, _ = started(optics, head, see, ClosedFormConfig())
    grown = act([replace(HOME, w=HOME.w * factor, h=HOME.h * factor)]).images[0]
    found = extent.growth(grown, HOME.box, 1)
    assert found is not None
    assert 0.1 < np.log(found) / np.log(factor) < 1.2


def test_growth_is_asked_for_every_so_often(optics: Optics, head: Head, see: See) -> None:
    extent, _ = started(optics, head, see, scale_alone(every=3))
    image = act([HOME]).images[0]
    assert [extent.growth(image, HOME.box, frame) is not None for frame in range(1, 7)] == [False, True, False] * 2


def test_what_grows_is_measured_in_every_frame(optics: Optics, head: Head, see: See) -> None:
    """And more of what is found is applied after several frames than after one."""
    extent, _ = started(optics, head, see, ClosedFormConfig())
    grown = act([replace(HOME, w=HOME.w * 1.15, h=HOME.h * 1.15)]).images[0]
    found = [extent.growth(grown, HOME.box, frame) for frame in (1, 2, 3, 5)]
    assert found[0] is not None
    assert found[1] == found[2] == found[0]
    assert found[3] == pytest.approx(found[0] ** ScaleSettings().gain)
    still = act([HOME]).images[0]
    assert extent.growth(still, HOME.box, 7) is not None
    assert extent.growth(still, HOME.box, 8) is None


@pytest.mark.parametrize(
    ("config", "frame", "steady", "compared"),
    [
        (ClosedFormConfig(), 1, True, True),
        (ClosedFormConfig(), 2, True, False),
        (ClosedFormConfig(), 2, False, True),
        (FAST, 2, True, True),
        (ClosedFormConfig(box=BoxSettings(refine_every=1)), 2, True, True),
    ],
)
def test_known_looks_are_compared_when_the_refiner_rests(
    config: ClosedFormConfig, frame: int, steady: bool, compared: bool, optics: Optics, head: Head
) -> None:
    assert Extent(optics, head, config, np.random.default_rng(0)).compares_in(frame, steady) is compared


def test_no_frame_more_than_doubles_the_size(optics: Optics, head: Head, see: See) -> None:
    """However wide the pyramid and whatever was learned."""
    extent, views = started(optics, head, see, scale_alone(levels=15, step=1.5))
    image = act([HOME]).images[0]
    for factor, limit in ((5.0, LARGEST_FACTOR), (0.2, 1 / LARGEST_FACTOR)):
        extent.growth(image, HOME.box, 1)
        extent.learn(*views[0], factor, 1.0, 1)
        assert extent.growth(image, HOME.box, 2) == limit


@pytest.mark.parametrize(
    ("config", "frame", "steady", "asked"),
    [
        (ClosedFormConfig(), 1, True, False),
        (ClosedFormConfig(), 2, True, True),
        (ClosedFormConfig(), 1, False, True),
        (FAST, 1, True, True),
        (ClosedFormConfig(box=BoxSettings(refine_every=5)), 4, True, False),
        (ClosedFormConfig(box=BoxSettings(refine_every=5)), 5, True, True),
    ],
)
def test_the_refiner_is_asked_in_doubt_and_every_so_often(
    config: ClosedFormConfig, frame: int, steady: bool, asked: bool, optics: Optics, head: Head
) -> None:
    assert Extent(optics, head, config, np.random.default_rng(0)).refines_in(frame, steady) is asked


def test_views_for_the_box_lie_around_it(optics: Optics) -> None:
    image = act([HOME]).images[0]
    boxes = np.array([box for _, box in box_views(optics, image, HOME.box, 20, np.random.default_rng(0))])
    centres = boxes[:, :2] + boxes[:, 2:] / 2 - optics.middle_px
    assert (centres.std(axis=0) > 0.02 * optics.side).all()
    assert np.log(boxes[:, 2]).std() > 0.05
