"""The closed-form tracker as a whole: what it follows, when it says LOST, what it finds again.

A mechanism is held by a clip on which it makes the difference, or by logistic weights of a test's own, so that only
what is asked decides. The parts by themselves: the other files of this folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker import ClosedFormConfig, FmstConfig, Tracker, TrackState
from edge_tracker.backbones.base import Backbone
from edge_tracker.boxes import Box, iou
from edge_tracker.closed_form import camera
from edge_tracker.closed_form import tracker as tracker_module
from edge_tracker.closed_form.config import (
    FAST,
    BeliefSettings,
    BoxSettings,
    IdentitySettings,
    PlaceSettings,
)
from edge_tracker.closed_form.head import Head
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.place import Place
from edge_tracker.closed_form.refinement_network import RefinementNetwork
from edge_tracker.closed_form.refiner import Corrected, Refiner
from edge_tracker.closed_form.tracker import ClosedFormTracker
from edge_tracker.closed_form.view import View
from edge_tracker.errors import ConfigError, ModelError
from edge_tracker.methods import AUTOMATIC, METHODS
from edge_tracker.track import Method, Track
from edge_tracker.video.synthetic import WHOLE, SyntheticClip
from tests.clips import GREEN, HEIGHT, WIDTH, ActedClip, Pose, act
from tests.closed_form.conftest import MODEL
from tests.conftest import Clip, restated

PRESETS = {name: METHODS[name].config for name in AUTOMATIC}
HOME = Pose(160, 120)
Make = Callable[..., ClosedFormTracker]


@dataclass
class Run:
    """What a tracker said of all frames but the first."""

    tracks: list[Track]
    truth: NDArray[np.float64]

    @property
    def overlaps(self) -> NDArray[np.float64]:
        return iou(np.array([track.box for track in self.tracks]), self.truth)

    @property
    def states(self) -> list[TrackState]:
        return [track.state for track in self.tracks]

    @property
    def confidences(self) -> NDArray[np.float64]:
        return np.array([track.confidence for track in self.tracks])

    @property
    def boxes(self) -> NDArray[np.float64]:
        return np.array([track.box for track in self.tracks])


def run(tracker: Tracker | Method, clip: Clip | ActedClip, frames: int | None = None) -> Run:
    tracker.init(clip.images[0], clip.first_box)
    return Run([tracker.update(image) for image in clip.images[1:frames]], clip.boxes[1:frames])


def tracked(images: list[NDArray[np.uint8]], box: object, preset: str = "accurate", **settings: object) -> list[Track]:
    tracker = Tracker(preset, MODEL, **settings)  # type: ignore[arg-type]
    tracker.init(images[0], box)  # type: ignore[arg-type]
    return [tracker.update(image) for image in images[1:]]


# Clips


def harder(frames: int = 100) -> ActedClip:
    """It goes round, turns to and fro, grows and shrinks by half, becomes another pattern, is lit half, is blurred for
    six frames, and a look-alike with its first pattern passes near it."""
    poses = []
    for k in range(frames):
        t = 2 * np.pi * k / frames
        x, y = WIDTH / 2 + 80 * np.sin(t), HEIGHT / 2 + 50 * np.sin(2 * t)
        poses.append(
            Pose(
                x,
                y,
                w=40 * (1 + 0.5 * np.sin(t)),
                h=48 * (1 + 0.4 * np.sin(t)),
                turn=np.sin(1.5 * t),
                morph=0.5 - 0.5 * np.cos(t / 2),
                light=1 - 0.45 * np.sin(t / 2) ** 2,
                blur_px=2.0 if 40 <= k < 46 else 0.0,
                twin=(x + 70, HEIGHT / 2 - 40 * np.sin(2 * t)),
            )
        )
    return act(poses)


@pytest.fixture(scope="module")
def harder_clip() -> ActedClip:
    return harder()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_it_follows_the_target_and_says_so(preset: str, clip: Clip) -> None:
    found = run(Tracker(preset, MODEL), clip)
    assert found.overlaps.mean() > 0.7
    assert found.overlaps.min() > 0.4
    assert TrackState.LOST not in found.states
    assert ((found.confidences >= 0) & (found.confidences <= 1)).all()


@pytest.mark.parametrize(
    ("preset", "mean", "least", "sure"), [("accurate", 0.78, 0.5, 0.85), ("fast", 0.72, 0.45, 0.9)]
)
def test_it_follows_a_target_that_turns_grows_is_relit_and_has_a_twin(
    preset: str, mean: float, least: float, sure: float, harder_clip: ActedClip
) -> None:
    found = run(Tracker(preset, MODEL), harder_clip)
    assert found.overlaps.mean() > mean
    assert found.overlaps.min() > least
    assert TrackState.LOST not in found.states
    assert found.confidences[-10:].mean() > sure


def test_accurate_is_more_exact_than_fast_on_a_target_that_grows() -> None:
    grows = act(Pose(160, 120, w=30 * 1.025**k, h=30 * 1.025**k) for k in range(60))
    accurate, fast = (run(Tracker(preset, MODEL), grows).overlaps for preset in ("accurate", "fast"))
    assert accurate.min() > 0.83
    assert fast.min() > 0.65
    assert accurate.mean() > fast.mean() + 0.02


# Each of these learns or corrects something: without it the clip goes worse.

GROWS = [Pose(160, 120, w=30 * 1.025**k, h=30 * 1.025**k) for k in range(60)]
SHRINKS = [Pose(160, 120, w=90 * 0.965**k, h=90 * 0.965**k) for k in range(60)]
WIDENS = [Pose(160, 120, w=44 * 1.02**k) for k in range(45)]
BECOMES_ANOTHER = [Pose(160 + 20 * np.sin(k / 8), 120, morph=min(1, k / 50)) for k in range(80)]


@pytest.mark.parametrize(("preset", "poses"), [("accurate", WIDENS), ("accurate", SHRINKS), ("fast", GROWS)])
def test_without_the_refiner_the_box_does_not_follow_a_change(preset: str, poses: list[Pose]) -> None:
    """Mean overlap over the last 20 frames."""
    clip = act(poses)
    ends = [run(Tracker(preset, MODEL, settings=s), clip).overlaps[-20:].mean() for s in ([], ["box.trust=0,0,0"])]
    assert ends[0] > 0.8
    assert ends[0] > ends[1] + 0.15


def test_colours_follow_a_slow_change_of_light(tracker_with: Make) -> None:
    """By colours alone, a target that is lit half after 120 frames is believed, for they were learned on the way."""
    dims = act(Pose(160 + 20 * np.sin(k / 8), 120, light=1 - 0.004 * k) for k in range(120))
    found = run(tracker_with(ClosedFormConfig(), (0, 0, 10, 0, -3)), dims)
    assert found.confidences[-10:].mean() > 0.5
    # In one step it is not: half of what is compared stays frame 1's, the rest has had no time.
    darker = act([*[HOME] * 10, *[replace(HOME, light=0.5)] * 10])
    assert run(tracker_with(ClosedFormConfig(), (0, 0, 10, 0, -3)), darker).confidences[-1] < 0.3


def test_new_looks_of_the_target_are_remembered(tracker_with: Make) -> None:
    """By likeness alone: a target that turns and becomes another is known by the looks it had on the way."""
    turns = act(Pose(160, 120, 48, 30, turn=min(1.5, 0.03 * k), morph=min(1, k / 50)) for k in range(70))
    ends = []
    for every in (4, 10_000):
        config = ClosedFormConfig(identity=IdentitySettings(own_every=every))
        ends.append(1 - run(tracker_with(config, (0, 20, 0, 0, -10)), turns).confidences[-10:].mean())
    assert ends[0] < 0.01
    assert ends[1] > 2 * ends[0]


@pytest.mark.parametrize("every", [1, 3])
def test_the_refiner_is_asked_in_its_turn_and_in_doubt(every: int, tracker_with: Make) -> None:
    """A target that widens is followed in steps; in every frame, once it is doubted."""
    config = ClosedFormConfig(box=BoxSettings(every=every))
    widens = act([HOME] * 2 + [Pose(160, 120, w=44 * 1.02**k) for k in range(12)])
    for constant, turns in ((4.0, every), (0.5, 1)):  # surely the target; hardly
        widths = [track.box[2] for track in run(tracker_with(config, (0, 0, 0, 0, constant)), widens).tracks]
        changed = [abs(later / sooner - 1) > 1e-4 for sooner, later in pairwise(widths)]
        assert changed[3:] == [(frame + 5) % turns == 0 for frame in range(len(changed) - 3)]


def test_what_was_not_corrected_is_not_compared_anew(tracker_with: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor kept as a look of the target; what is known of the box before holds."""
    described: list[int] = []  # frames
    identify = Refiner.identify
    tracker = tracker_with(ClosedFormConfig(box=BoxSettings(every=3)), (0, 0, 0, 0, 4.0))

    def noted(refiner: Refiner, view: View, boxes: Sequence[Box]) -> np.ndarray:
        described.append(tracker._frame)
        return identify(refiner, view, boxes)

    monkeypatch.setattr(Refiner, "identify", noted)
    run(tracker, act([HOME] * 11))
    assert sorted(set(described)) == [0, 3, 6, 9]


@pytest.mark.parametrize("every", [1, 3])
def test_where_boxes_are_not_corrected_the_fine_features_are_not_computed(
    every: int, backbone: Backbone, head: Head
) -> None:
    """The coarse ones are the same with or without them."""
    optics = Optics(backbone, head, ClosedFormConfig(box=BoxSettings(every=every)))
    window = optics.window(HOME.box)
    patch = optics.crop(act([HOME]).images[0], window)
    whole, coarsely = optics.see(window, patch), optics.see(window, patch, coarsely=True)
    np.testing.assert_allclose(coarsely.coarse, whole.coarse, atol=1e-4 * np.abs(whole.coarse).max())
    assert coarsely.fine.size == (whole.fine.size if every == 1 else 0)


def test_a_target_that_turns_is_compared_with_frame_1_turned(
    backbone: Backbone, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the turn of the frame before; by a network that doubts, or it would find the target like enough as it is."""
    assert head.refinement is not None
    bias = head.refinement.tensors["head.1.bias"].copy()
    bias[4] -= 8
    doubting = replace(head, refinement=RefinementNetwork({**head.refinement.tensors, "head.1.bias": bias}))
    turns: list[tuple[int, int]] = []  # that was given, that was found
    correct = Refiner.correct

    def noted(refiner: Refiner, view: View, box: Box, turn: int = 0, least: float = -1.0) -> Corrected:
        found = correct(refiner, view, box, turn, least)
        turns.append((turn, found.turn))
        return found

    monkeypatch.setattr(Refiner, "correct", noted)
    alone = BeliefSettings(lost_after=1000, search_after=10_000)  # a search looks at other places, too
    tracker = ClosedFormTracker(backbone, doubting, ClosedFormConfig(belief=alone))
    run(tracker, act(Pose(160, 120, w=70, h=36, turn=np.pi * k / 40) for k in range(24)))
    assert [given for given, _ in turns] == [0, *(found for _, found in turns[:-1])]
    assert 1 <= turns[-1][1] <= 4  # parts of 30 degrees; the target has turned by 104


def test_frame_1_turned_is_among_the_known_views(tracker_with: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By likeness alone, a target that lies down from one frame to the next is as likely as it was."""
    clip = act([replace(HOME, w=70, h=36, turn=turn) for turn in (0, 0, 1.57)])
    believed = run(tracker_with(ClosedFormConfig(), (0, 20, 0, 0, -18)), clip).confidences
    monkeypatch.setattr(tracker_module, "turned_views", lambda *_: [])
    unknown = run(tracker_with(ClosedFormConfig(), (0, 20, 0, 0, -18)), clip).confidences
    assert believed[0] == pytest.approx(unknown[0], abs=0.1)
    assert believed[1] > unknown[1] + 0.1


def test_a_jerk_of_the_camera_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture jumps by more than the target's size, again and again; without compensation the target is lost."""
    still = act([Pose(160 + 10 * np.sin(k / 8), 120, w=26, h=26) for k in range(50)])
    jumps = [(0, 0)] * 10 + [(45 * (-1) ** (k // 8), 25 * (-1) ** (k // 5)) for k in range(40)]
    images = [np.roll(image, jump, (1, 0)) for image, jump in zip(still.images, jumps, strict=True)]
    boxes = still.boxes + np.array([(*jump, 0, 0) for jump in jumps])
    ends = []
    for least in (camera.LEAST_JERK, 1e9):
        monkeypatch.setattr(tracker_module, "LEAST_JERK", least)
        ends.append(float(Run(tracked(images, still.first_box), boxes[1:]).overlaps.mean()))
    assert ends[0] > 0.7
    assert ends[0] > ends[1] + 0.2


@pytest.mark.parametrize(("constant", "narrow"), [(-1.0, False), (4.0, True)], ids=["doubted", "believed"])
def test_what_is_not_believed_may_be_anywhere_near(
    constant: float, narrow: bool, tracker_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = []
    find = Place.find
    monkeypatch.setattr(Place, "find", lambda place, view, e=None: expected.append(e) or find(place, view, e))
    belief = BeliefSettings(lost_after=1000, search_after=10_000)
    tracker = tracker_with(ClosedFormConfig(belief=belief), (0, 0, 0, 0, constant))
    clip = act(Pose(100 + 4 * k, 120, w=40, h=40) for k in range(16))
    run(tracker, clip)
    assert (expected[-1] is not None) is narrow
    if narrow:
        assert expected[-1].dx == pytest.approx(4, abs=0.8)
        assert expected[-1].sigma < expected[0].sigma


@pytest.mark.parametrize(("others_every", "look_out_every"), [(3, 10_000), (10_000, 4)], ids=["peaks", "look-out"])
def test_what_stands_beside_the_target_is_kept(others_every: int, look_out_every: int, tracker_with: Make) -> None:
    """A twin next to it, by the filters' own answer; or farther off, by looking out: its margin tells."""
    at = 58 if look_out_every > 100 else 130
    clip = act([Pose(100 + 6 * np.sin(k / 5), 120, w=40, twin=(100 + at, 120)) for k in range(24)])
    margins = []
    for settings in (
        IdentitySettings(others_every=others_every, look_out_every=look_out_every),
        IdentitySettings(others_every=10_000, look_out_every=10_000),
    ):
        tracker = tracker_with(ClosedFormConfig(identity=settings))
        run(tracker, clip)
        w, h = clip.boxes[-1, 2:]
        twin = (100 + at - w / 2, 120 - h / 2, w, h)
        view = tracker._see(clip.images[-1], twin)
        assert view is not None
        margins.append(tracker._presence.evidence(view, view.on_crop(twin), 0.5, 0.5).margin)
    assert margins[0] < 0.35
    assert margins[1] > 0.8  # nothing speaks against it


# What is LOST, and what is not


def covered(image: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image with noise of another kind over the box and around it."""
    random = np.random.default_rng(5)
    x, y, w, h = (box + np.array([-0.4, -0.4, 0.8, 0.8]) * box[[2, 3, 2, 3]]).astype(int)
    x, y = max(x, 0), max(y, 0)
    image = image.copy()
    patch = image[y : y + h, x : x + w]
    coarse = random.integers(0, 256, (patch.shape[0] // 4 + 1, patch.shape[1] // 4 + 1, 3), dtype=np.uint8)
    patch[:] = np.repeat(np.repeat(coarse, 4, 0), 4, 1)[: patch.shape[0], : patch.shape[1]]
    return image


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_it_is_honest_about_a_hidden_target_and_goes_on_with_it(preset: str, clip: Clip) -> None:
    """It is not TRACKED from the first frame on in which something covers it; when it is LOST goes by what that is."""
    hidden = range(30, 42)
    images = [covered(im, clip.boxes[i]) if i in hidden else im for i, im in enumerate(clip.images[:80])]
    found = Run(tracked(images, clip.first_box, preset), clip.boxes[1:80])
    assert TrackState.LOST not in found.states[: hidden.start - 1]
    assert TrackState.TRACKED not in found.states[hidden.start - 1 : hidden.stop - 1]
    assert set(found.states[-10:]) == {TrackState.TRACKED}
    assert found.overlaps[-10:].min() > 0.5


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_target_whose_colours_are_gone_is_lost_within_ten_frames(preset: str, tracker_with: Make, clip: Clip) -> None:
    """Judged by colours alone, as the noise that covers it has next to none of its own."""
    images = [covered(im, clip.boxes[i]) if i >= 30 else im for i, im in enumerate(clip.images[:50])]
    tracker = tracker_with(PRESETS[preset], (0, 0, 10, 0, -5))
    tracker.init(images[0], clip.first_box)
    states = [tracker.update(image).state for image in images[1:]]
    assert TrackState.LOST not in states[:29]
    assert TrackState.LOST in states[29:39]


def test_lost_is_not_said_of_two_bad_frames(clip: Clip) -> None:
    hidden = range(30, 32)
    images = [covered(im, clip.boxes[i]) if i in hidden else im for i, im in enumerate(clip.images[:45])]
    found = Run(tracked(images, clip.first_box), clip.boxes[1:45])
    assert TrackState.LOST not in found.states
    assert found.overlaps[-1] > 0.5


@pytest.mark.parametrize(("probability", "lost"), [(0.1, True), (0.4, False)])
def test_plainly_wrong_frames_are_lost_and_doubtful_ones_are_not(
    probability: float, lost: bool, tracker_with: Make
) -> None:
    """However long the doubt lasts, and whatever is seen."""
    score = float(np.log(probability / (1 - probability)))
    found = run(tracker_with(ClosedFormConfig(), (0, 0, 0, 0, score)), act([HOME] * 25))
    assert (TrackState.LOST in found.states) == lost
    assert TrackState.TRACKED not in found.states[2:]


def test_the_probability_goes_by_what_the_refiner_says(tracker_with: Make) -> None:
    """By its match alone: a target is believed, and a place without it is not."""
    leaves = act([*[HOME] * 10, *[replace(HOME, shown=False)] * 15])
    found = run(tracker_with(ClosedFormConfig(), (0, 0, 0, 10, -3)), leaves)
    assert set(found.states[2:8]) == {TrackState.TRACKED}  # it is asked in frame 2 first
    assert found.states[-1] is TrackState.LOST
    assert found.confidences[-1] < 0.1


def test_a_black_spell_is_lost_and_over_when_it_ends(clip: Clip) -> None:
    black = np.zeros_like(clip.images[0])
    images = [*clip.images[:20], *[black] * 10, *clip.images[20:40]]
    found = tracked(images, clip.first_box)
    assert {track.state for track in found[19:29]} == {TrackState.LOST}
    assert {track.confidence for track in found[19:29]} == {0.0}
    assert {track.box for track in found[19:29]} == {found[18].box}
    assert found[-1].state is TrackState.TRACKED
    assert Run(found[-10:], clip.boxes[30:40]).overlaps.min() > 0.5


def test_a_plain_target_and_plain_frames_do_no_harm() -> None:
    plain = np.full((120, 160, 3), 90, np.uint8)
    found = tracked([plain] * 10, (40, 40, 30, 30))
    assert np.isfinite([track.box for track in found]).all()
    assert found[-1].state is TrackState.LOST


# While it is away, and when it is back


def leaves_and_returns(size: float = 56.0, twin_colour: tuple[int, int, int] | None = GREEN) -> ActedClip:
    """It leaves to the left, a look-alike of another colour crosses, and it is back elsewhere, in another size."""
    crossing = [Pose(-60, 120, shown=False, twin=(250 - 3 * k, 70), twin_colour=twin_colour) for k in range(30)]
    return act([*[Pose(160 - 4 * k, 120) for k in range(20)], *[Pose(160 - 11 * k, 120) for k in range(8, 20)],
                *crossing, *[Pose(250, 160, w=size, h=size)] * 30])  # fmt: skip


@pytest.mark.parametrize(("preset", "within"), [("accurate", 10), ("fast", 15)])
@pytest.mark.parametrize("size", [30.0, 56.0])
def test_a_target_that_left_is_found_where_it_returns(preset: str, within: int, size: float) -> None:
    clip = leaves_and_returns(size)
    found = run(Tracker(preset, MODEL), clip)
    back = len(clip.poses) - 30
    assert TrackState.TRACKED not in found.states[back - 25 : back - 1]
    assert found.states[back - 2] is TrackState.LOST
    again = found.states.index(TrackState.TRACKED, back - 1)
    assert again - (back - 1) <= within
    assert found.overlaps[-10:].min() > (0.75 if size > 40 else 0.6)


def test_nothing_is_learned_while_lost(clip: Clip) -> None:
    """A long search over noise leaves the target as well known as a short one."""
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, clip.images[0].shape, dtype=np.uint8) for _ in range(60)]
    ends = []
    for spell in (15, 60):
        found = tracked([*clip.images[:10], *noise[:spell], *[clip.images[10]] * 30], clip.first_box)
        assert found[-31].state is TrackState.LOST
        ends.append(found[-1])
    assert ends[0].state is ends[1].state is TrackState.TRACKED
    assert ends[1].confidence == pytest.approx(ends[0].confidence, abs=0.02)


@pytest.mark.parametrize(("constant", "learned"), [(-1.0, False), (4.0, True)], ids=["doubted", "believed"])
def test_nothing_is_learned_from_a_box_that_is_not_believed(constant: float, learned: bool, tracker_with: Make) -> None:
    belief = BeliefSettings(lost_after=1000, search_after=10_000)  # neither search, in which nothing is learned anyway
    tracker = tracker_with(ClosedFormConfig(belief=belief), (0, 0, 0, 0, constant))
    looks = act([HOME] * 2 + [replace(HOME, morph=1.0)] * 12)
    tracker.init(looks.images[0], looks.first_box)
    weights = []
    for image in looks.images[1:]:
        tracker.update(image)
        weights.append(tracker._place._ridge.weights)
    assert np.array_equal(weights[1], weights[-1]) is not learned  # by then the average is as low as what it averages


def test_a_search_is_over_once_something_was_followed_for_long_enough(tracker_with: Make, clip: Clip) -> None:
    """And is no more LOST from then on that it is found, even if what was found is not TRACKED at once."""
    noise = np.random.default_rng(0).integers(0, 256, clip.images[0].shape, dtype=np.uint8)
    belief = BeliefSettings(tracked_above=0.9, proving=3)
    tracker = tracker_with(ClosedFormConfig(belief=belief), (0, 0, 8.0, 0, -4.6))
    found = run(tracker, act([HOME] * 10))
    states, searched = [], []
    for image in [noise] * 12 + list(act([HOME] * 12).images):
        states.append(tracker.update(image).state)
        searched.append(tracker._redetection is not None)
    assert found.states[-1] is not TrackState.LOST
    assert TrackState.LOST in states[:12]
    first = 12 + states[12:].index(TrackState.UNCERTAIN)
    assert TrackState.LOST not in states[first:]
    assert [k - first for k, still in enumerate(searched) if still][-1] == belief.proving - 1


@pytest.mark.parametrize(("colour", "found"), [(None, True), ((150, 90, 90), False)], ids=["own", "another"])
def test_what_has_other_colours_is_doubted(
    colour: tuple[int, int, int] | None, found: bool, tracker_with: Make
) -> None:
    """By the filters' answer alone a look-alike is as good as the target; its colours tell."""
    away = Pose(60, 120, shown=False)
    clip = act([*[Pose(60, 120)] * 6, *[away] * 10, *[replace(away, twin=(120, 120), twin_colour=colour)] * 40])
    states = run(tracker_with(ClosedFormConfig(), (6, 0, 0, 0, -3)), clip).states
    assert states[14] is TrackState.LOST
    assert (set(states[15:]) != {TrackState.LOST}) == found


def test_while_lost_the_box_goes_with_what_was_followed_at_last(clip: Clip, tracker_with: Make) -> None:
    """LOST from the start and never found: the target moves on, and the filter still answers where it is."""
    never = ClosedFormConfig(belief=BeliefSettings(lost_after=1, found_above=1))
    found = run(tracker_with(never, (0, 0, 0, 0, -5)), clip, 22)
    since = found.states.index(TrackState.LOST)
    assert since < 5
    assert set(found.states[since:]) == {TrackState.LOST}
    assert found.overlaps[-4:].max() > 0.4
    assert found.overlaps[-4:].max() > iou(found.boxes[since], clip.boxes[21])


def test_a_target_found_elsewhere_is_believed_after_two_frames(clip: Clip) -> None:
    """While it is away the scene jumps, so that it is back far from where it was last seen."""
    random = np.random.default_rng(0)
    empty = [random.integers(0, 256, clip.images[0].shape, dtype=np.uint8) for _ in range(20)]
    shifted = [np.roll(image, (0, 150), (0, 1)) for image in [clip.images[20]] * 40]
    found = tracked([*clip.images[:20], *empty, *shifted], clip.first_box)
    x, y, w, h = clip.boxes[20]
    assert TrackState.LOST in [track.state for track in found[19:31]]
    assert iou(np.array(found[-1].box), np.array([(x + 150) % WIDTH, y, w, h])) > 0.5
    assert found[-1].state is TrackState.TRACKED


def test_where_nothing_answers_the_box_is_the_last_one_that_was_believed(clip: Clip) -> None:
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, clip.images[0].shape, dtype=np.uint8) for _ in range(9)]
    config = ClosedFormConfig(belief=BeliefSettings(trail_height=1.0))
    end = tracked([*clip.images[:20], *noise], clip.first_box, config=config)[-1]
    assert end.state is TrackState.LOST
    assert iou(np.array(end.box), clip.boxes[19]) > 0.5
    assert iou(np.array(end.box), clip.boxes[0]) == 0


def test_a_target_that_was_covered_is_looked_for_where_it_was_last_believed(tracker_with: Make, clip: Clip) -> None:
    """The cover moves on and takes the box with it; the target is where it was. Judged by colours alone."""
    box, image = clip.boxes[20], clip.images[20]
    spell = [covered(image, box + np.array([5 * k, 0, 0, 0])) for k in range(14)]
    tracker = tracker_with(ClosedFormConfig(), (0, 0, 10, 0, -5))
    tracker.init(clip.images[0], clip.first_box)
    images = [*clip.images[1:20], *[covered(image, box)] * 8, *spell, *[image] * 6]
    found = [tracker.update(seen) for seen in images]
    assert TrackState.LOST in [track.state for track in found[19:41]]
    assert found[-1].state is TrackState.TRACKED
    assert iou(np.array(found[-1].box), box) > 0.5


@pytest.mark.parametrize(("search_after", "found"), [(3, True), (10_000, False)])
def test_a_target_in_doubt_is_looked_for_elsewhere(
    search_after: int, found: bool, tracker_with: Make, clip: Clip
) -> None:
    """It is gone for a while and comes back far away; nothing is ever so plainly wrong that it would be LOST."""
    empty = np.random.default_rng(0).integers(0, 256, clip.images[0].shape, dtype=np.uint8)
    x, y, w, h = clip.boxes[20].round().astype(int)
    back = empty.copy()
    back[y - 100 : y - 100 + h, x - 60 : x - 60 + w] = clip.images[20][y : y + h, x : x + w]
    belief = BeliefSettings(search_after=search_after)
    config = ClosedFormConfig(place=PlaceSettings(motion_sigma=0.05), belief=belief)
    tracker = tracker_with(config, (0, 0, 3, 0, -0.8))  # .45 here, .9 on the target, by colours alone
    tracker.init(clip.images[0], clip.first_box)
    tracks = [tracker.update(image) for image in [*clip.images[1:20], *[empty] * 10, *[back] * 20]]
    assert TrackState.LOST not in [track.state for track in tracks]
    assert bool(iou(np.array(tracks[-1].box), np.array([x - 60, y - 100, w, h])) > 0.5) is found
    assert (tracks[-1].state is TrackState.TRACKED) is found


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_grey_look_alike_is_not_taken_for_the_target_while_that_is_away(preset: str, whole_clip: Clip) -> None:
    """It crosses the picture all the time that the target is out of it (`edge-track demo` shows it)."""
    found = run(Tracker(preset, MODEL), whole_clip)
    away = np.flatnonzero(SyntheticClip(WHOLE).visible == 0)
    away = away[away > 220] - 1  # the second time
    assert len(away) > 20
    assert TrackState.TRACKED not in {found.states[i] for i in away[3:]}
    assert {found.states[i] for i in away[10:]} == {TrackState.LOST}
    assert found.overlaps[-5:].min() > 0.5


# Odd boxes, sizes and settings


@pytest.mark.parametrize(
    "box", [(0, 0, 320, 240), (300, 200, 60, 60), (10, 10, 1, 1), (-30, -30, 40, 40), (5, 5, 2, 90)]
)
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_odd_boxes_do_no_harm(preset: str, box: tuple[int, ...], clip: Clip) -> None:
    found = tracked(clip.images[:8], box, preset)
    assert np.isfinite([(*track.box, track.confidence) for track in found]).all()
    assert all(min(track.box[2:]) > 0 for track in found)


def test_a_large_target_is_not_believed_to_become_smaller_than_8_pixels() -> None:
    clip = act([Pose(160, 120, w=24, h=24)] * 3)
    tracker = Tracker("accurate", MODEL)
    tracker.init(clip.images[0], clip.first_box)
    tracker.update(clip.images[1])
    small = np.asarray(cv2.resize(clip.images[2], (80, 60), interpolation=cv2.INTER_AREA), np.uint8)  # now it has 6 px
    for _ in range(3):
        assert tracker.update(small).box[2:] == (8.0, 8.0)


def test_a_target_that_began_small_may_stay_so() -> None:
    found = run(Tracker("accurate", MODEL), act([Pose(160, 120, w=6, h=6)] * 5))
    assert (found.boxes[:, 2:] < 7).all()


def test_another_resolution_is_the_same_view(clip: Clip) -> None:
    tracker = Tracker("accurate", MODEL)
    tracker.init(clip.images[0], clip.first_box)
    for image in clip.images[1:10]:
        tracker.update(image)
    for index in range(10, 20):
        track = tracker.update(np.asarray(cv2.resize(clip.images[index], (640, 480)), np.uint8))
    assert iou(np.array(track.box), 2 * clip.boxes[19]) > 0.5


def test_another_resolution_while_lost_moves_the_search_too(clip: Clip) -> None:
    tracker = Tracker("accurate", MODEL)
    tracker.init(clip.images[0], clip.first_box)
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for image in (*clip.images[1:10], *[noise] * 10):
        track = tracker.update(image)
    assert track.state is TrackState.LOST
    small = [np.ascontiguousarray(image[::2, ::2]) for image in [clip.images[10]] * 40]
    for image in small:
        track = tracker.update(image)
        x, y, w, h = track.box
        assert 0 <= x + w / 2 <= 160
        assert 0 <= y + h / 2 <= 120
    assert track.state is TrackState.TRACKED
    assert iou(np.array(track.box), clip.boxes[10] / 2) > 0.5


def test_a_search_goes_on_around_the_last_good_box_of_the_other_resolution(tracker_with: Make, clip: Clip) -> None:
    tracker = tracker_with(ClosedFormConfig())
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    tracker.init(clip.images[0], tuple(clip.first_box))
    states = [tracker.update(image).state for image in (*clip.images[1:10], *[noise] * 10)]
    assert states[-1] is TrackState.LOST
    tracker.rescale(0.5, 0.5, (160, 120))
    assert tracker._redetection is not None
    assert iou(np.array(tracker._redetection.box), clip.boxes[9] / 2) > 0.5


def test_init_again_forgets_the_first_target(tracker_with: Make, clip: Clip) -> None:
    tracker = tracker_with(ClosedFormConfig())
    fresh = run(tracker_with(ClosedFormConfig()), clip, 10)
    run(tracker, act([HOME] * 12))
    assert np.array_equal(run(tracker, clip, 10).boxes, fresh.boxes)


def test_a_head_without_what_the_tracker_needs_is_refused(backbone: Backbone, head: Head) -> None:
    with pytest.raises(ModelError, match="no refinement network"):
        ClosedFormTracker(backbone, replace(head, refinement=None), ClosedFormConfig())
    few = {name: projection.first(20) for name, projection in head.projections.items()}
    with pytest.raises(ModelError, match="fewer than 32 and 48 directions"):
        ClosedFormTracker(backbone, replace(head, projections=few), ClosedFormConfig())


def test_settings_of_another_method_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set up by ClosedFormConfig"):
        Tracker("accurate", MODEL, config=FmstConfig())
    with pytest.raises(ConfigError, match="set up by FmstConfig"):
        Tracker("fmst", MODEL, config=ClosedFormConfig())
    with pytest.raises(ModelError, match="localisation"):
        Tracker("accurate", restated(tmp_path / "m.onnx", '"localisation"', '"selection"'))
    with pytest.raises(ModelError, match="no head"):
        Tracker("fast", restated(tmp_path / "m.onnx", '"edge-small"', '"another"'))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ClosedFormConfig(roi_scale=0.5),
        lambda: ClosedFormConfig(input_side=200),
        lambda: ClosedFormConfig(seed=-1),
        lambda: PlaceSettings(ridge=0.0),
        lambda: PlaceSettings(ridge=float("nan")),
        lambda: PlaceSettings(rate=1.5),
        lambda: PlaceSettings(gate_low=0.5, gate_high=0.5),
        lambda: BoxSettings(every=0),
        lambda: BeliefSettings(tracked_above=0.5),
        lambda: BeliefSettings(leaving=0.0),
        lambda: BeliefSettings(lost_after=0),
        lambda: BeliefSettings(found_above=float("nan")),
        lambda: replace(FAST, belief=None),
    ],
)
def test_settings_out_of_range_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        wrong()


# "auto"


def remembered(cache: Path, name: str, when: float) -> None:
    """Make the choice of `auto` that this machine remembers another one, or of another time."""
    store = cache / "edge-tracker" / "auto.json"
    known = json.loads(store.read_text())
    store.write_text(json.dumps(dict.fromkeys(known, (name, when))))


def test_auto_measures_once_and_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = tmp_path / "edge-tracker" / "auto.json"
    first = Tracker("auto", MODEL).name
    assert first in AUTOMATIC
    assert store.is_file()
    for name in AUTOMATIC:
        remembered(tmp_path, name, time.time())
        before = store.read_text()
        assert Tracker("auto", MODEL).name == name
        assert store.read_text() == before


def test_auto_measures_again_after_a_while_where_it_was_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may have been busy; what was fast enough once is not asked again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = tmp_path / "edge-tracker" / "auto.json"
    Tracker("auto", MODEL)
    for name, again in (("fast", True), ("accurate", False)):
        remembered(tmp_path, name, 1000.0)
        Tracker("auto", MODEL)
        ((_, when),) = json.loads(store.read_text()).values()
        assert (when > 1000.0) == again


def test_auto_measures_anew_where_its_memory_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = tmp_path / "edge-tracker" / "auto.json"
    store.parent.mkdir(parents=True)
    for content in ("{ broken", "[]", '{"a": 3}', "[" * 100_000):
        store.write_text(content)
        assert Tracker("auto", MODEL).name in AUTOMATIC
        assert len(json.loads(store.read_text())) == 1
