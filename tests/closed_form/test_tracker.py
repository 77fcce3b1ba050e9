"""The closed-form tracker on the synthetic clip, with the packaged backbone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_tracker import ClosedFormConfig, FmstConfig, Tracker, TrackState
from edge_tracker.backbones.base import PURPOSES
from edge_tracker.backbones.catalogue import HEAD, find_companion, find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import iou
from edge_tracker.closed_form import tracker as tracker_module
from edge_tracker.closed_form.head import load_head
from edge_tracker.closed_form.refiner import Correction
from edge_tracker.closed_form.response_map import Peak, find_peak
from edge_tracker.closed_form.tracker import ClosedFormTracker, latin_hypercube
from edge_tracker.errors import ConfigError, ModelError
from edge_tracker.methods import PRESETS
from edge_tracker.video.synthetic import WHOLE, SyntheticClip
from tests.conftest import Clip, restated

MODEL = "edge-small"


def run(tracker: Tracker, images: list[np.ndarray], box: object) -> tuple[np.ndarray, list[TrackState], np.ndarray]:
    """Boxes (n - 1, 4), states, confidences of all frames but the first."""
    tracker.init(images[0], box)
    tracks = [tracker.update(image) for image in images[1:]]
    return np.array([t.box for t in tracks]), [t.state for t in tracks], np.array([t.confidence for t in tracks])


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_it_follows_the_target_and_says_so(preset: str, clip: Clip) -> None:
    boxes, states, confidences = run(Tracker(preset, MODEL), clip.images, clip.first_box)
    overlaps = iou(boxes, clip.boxes[1:])
    assert overlaps.mean() > 0.7
    assert overlaps.min() > 0.4
    assert TrackState.LOST not in states
    assert ((confidences >= 0) & (confidences <= 1)).all()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_same_seed_gives_the_same_boxes_bit_for_bit(preset: str, clip: Clip) -> None:
    images = clip.images[:25]
    first, second, two = (
        run(Tracker(preset, MODEL, seed=3, threads=threads), images, clip.first_box)[0] for threads in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, two)
    assert not np.array_equal(first, run(Tracker(preset, MODEL, seed=4), images, clip.first_box)[0])


@pytest.mark.parametrize("count", [0, 1, 20])
def test_chances_of_the_views_cover_all_there_is(count: int) -> None:
    points = latin_hypercube(np.random.default_rng(0), count, 5)
    assert points.shape == (count, 5)
    assert ((points > 0) & (points < 1)).all()
    for line in points.T:
        np.testing.assert_array_equal(np.sort((line * count).astype(int)), np.arange(count))


def test_a_turned_target_is_recognised_by_its_turned_views(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, w, h = clip.first_box
    image = clip.images[0]
    path = find_model(MODEL)
    backbone = load_backbone(path, purposes=PURPOSES[:1], side=PRESETS["fast"].input_side)
    head = load_head(find_companion(MODEL, HEAD), backbone.info)
    heights: list[list[float]] = []
    for turn, stretch in ((tracker_module.VIEW_TURN, tracker_module.VIEW_STRETCH), (0.0, 0.0)):
        monkeypatch.setattr(tracker_module, "VIEW_TURN", turn)
        monkeypatch.setattr(tracker_module, "VIEW_STRETCH", stretch)
        heights.append([])
        for degrees in (-60, -40, 40, 60):
            tracker = ClosedFormTracker(backbone, head, PRESETS["fast"])
            tracker.init(image, clip.first_box)
            matrix = cv2.getRotationMatrix2D((x + w / 2 - 0.5, y + h / 2 - 0.5), degrees, 1.0)
            tracker.update(cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT))
            heights[-1].append(tracker.evidence.height)
    assert np.mean(heights[0]) > np.mean(heights[1]) + 0.05


def covered(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The image with noise of another kind over the box and around it."""
    random = np.random.default_rng(5)
    x, y, w, h = (box + np.array([-0.4, -0.4, 0.8, 0.8]) * box[[2, 3, 2, 3]]).astype(int)
    x, y = max(x, 0), max(y, 0)
    image = image.copy()
    patch = image[y : y + h, x : x + w]
    coarse = random.integers(0, 256, (patch.shape[0] // 4 + 1, patch.shape[1] // 4 + 1, 3), dtype=np.uint8)
    patch[:] = np.repeat(np.repeat(coarse, 4, 0), 4, 1)[: patch.shape[0], : patch.shape[1]]
    return image


@pytest.mark.parametrize(("preset", "within"), [("accurate", 10), ("fast", 18)])
def test_it_is_honest_about_a_hidden_target_and_finds_it_again(preset: str, within: int, clip: Clip) -> None:
    hidden = range(30, 50)
    images = [covered(im, clip.boxes[i]) if i in hidden else im for i, im in enumerate(clip.images[:80])]
    boxes, states, _ = run(Tracker(preset, MODEL), images, clip.first_box)
    overlaps = iou(boxes, clip.boxes[1:80])
    lost = [state is TrackState.LOST for state in states]  # lost[i] is of frame i + 1
    assert not any(lost[: hidden.start - 1])
    assert any(lost[hidden.start - 1 : hidden.start - 1 + within]), "not noticed in time"
    assert not lost[-1]
    assert overlaps[-10:].min() > 0.5


def test_lost_is_not_said_of_two_bad_frames(clip: Clip) -> None:
    hidden = range(30, 32)
    images = [covered(im, clip.boxes[i]) if i in hidden else im for i, im in enumerate(clip.images[:45])]
    boxes, states, _ = run(Tracker("accurate", MODEL), images, clip.first_box)
    assert TrackState.LOST not in states
    assert iou(boxes[-1], clip.boxes[44]) > 0.5


def test_while_lost_the_box_goes_with_what_was_followed_at_last(clip: Clip) -> None:
    """LOST from the start and never found: the target moves on, and the filter still answers where it is."""
    never = ClosedFormConfig(uncertain_below=1, lost_below=1, lost_height=1, known_above=1, lost_after=1, found_above=1)
    boxes, states, _ = run(Tracker("accurate", MODEL, config=never), clip.images[:22], clip.first_box)
    since = states.index(TrackState.LOST)
    assert since < 5
    assert set(states[since:]) == {TrackState.LOST}
    overlaps = iou(boxes, clip.boxes[1:22])
    assert overlaps[-4:].max() > 0.4
    assert overlaps[-4:].max() > iou(boxes[since], clip.boxes[21])


@pytest.mark.parametrize(
    ("height", "match", "lost"),
    [(0.8, 0.5, False), (0.8, 0.0, False), (0.8, -0.5, True), (0.4, 0.5, False), (0.4, 0.0, True), (0.1, 0.5, True)],
)
def test_the_refiner_may_forbid_lost_or_hasten_it(
    height: float, match: float, lost: bool, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a low confidence, by the height of the filters' answer and what the refiner says."""
    correction = Correction(np.zeros(4, np.float32), match)
    monkeypatch.setattr(tracker_module.Refiner, "predict", lambda *_: correction)
    monkeypatch.setattr(tracker_module.Presence, "probability", lambda *_: 0.2)
    monkeypatch.setattr(tracker_module, "find_peak", lambda *maps: find_peak(*maps)._replace(height=height))
    _, states, _ = run(Tracker("accurate", MODEL), clip.images[:21], clip.first_box)
    assert states[3] is TrackState.UNCERTAIN
    assert (TrackState.LOST in states[:9]) == (TrackState.LOST in states) == lost


def accurate_tracker(images: list[np.ndarray], box: object) -> ClosedFormTracker:
    """Has followed the target through the images."""
    config = PRESETS["accurate"]
    backbone = load_backbone(find_model(MODEL), purposes=PURPOSES, side=config.input_side)
    tracker = ClosedFormTracker(backbone, load_head(find_companion(MODEL, HEAD), backbone.info), config)
    tracker.init(images[0], box)
    for image in images[1:]:
        tracker.update(image)
    return tracker


def test_where_the_filters_find_nothing_an_old_word_of_the_refiner_does_not_count(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = accurate_tracker(clip.images[:20], clip.first_box)
    assert tracker.evidence.match > 0.5
    monkeypatch.setattr(tracker_module, "find_peak", lambda *_: Peak(96.0, 96.0, -0.1))
    nothing = np.random.default_rng(0).integers(0, 255, clip.images[0].shape, np.uint8)
    first = tracker.update(nothing)
    assert tracker.evidence.match == 0
    assert first.confidence < 0.6
    assert TrackState.LOST in [tracker.update(nothing).state for _ in range(6)]


def test_where_the_filters_slid_off_the_target_is_seen_beside(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filters are made to answer most of a side away from the target, in a frame of doubt."""
    overlaps = []
    for compared in (tracker_module.COMPARED, 0):
        monkeypatch.setattr(tracker_module, "COMPARED", compared)
        tracker = accurate_tracker(clip.images[:20], clip.first_box)
        tracker._believed = 0.5
        with monkeypatch.context() as sliding:
            sliding.setattr(tracker_module, "find_peak", slid(tracker.box))
            tracker.update(clip.images[20])
        overlaps.append(float(iou(np.array(tracker.box), clip.boxes[20])))
    assert overlaps[0] > 0.5 > overlaps[1]


def slid(box: tuple[float, float, float, float]) -> Callable[..., Peak]:
    """A `find_peak` that is .7 of the box's sides too far right and down."""
    config = PRESETS["accurate"]
    scale = config.input_side / (config.roi_scale * math.sqrt(box[2] * box[3]))

    def find(response: np.ndarray, prior: np.ndarray) -> Peak:
        peak = find_peak(response, prior)
        return peak._replace(x_px=peak.x_px + 0.7 * box[2] * scale, y_px=peak.y_px + 0.7 * box[3] * scale)

    return find


def test_the_refiner_follows_a_target_that_becomes_wider(clip: Clip) -> None:
    """The scale filter cannot: it keeps the ratio of the sides."""
    import cv2

    (x, y, w, h), image = clip.boxes[0], clip.images[0]
    images, boxes = [], []
    for frame in range(40):
        k = 1 + 0.015 * frame
        warp = np.array([[k, 0, (1 - k) * (x + w / 2)], [0, 1, 0]])
        images.append(np.asarray(cv2.warpAffine(image, warp, image.shape[1::-1]), np.uint8))
        boxes.append((x + w / 2 - k * w / 2, y, k * w, h))
    overlaps = []
    for config in (ClosedFormConfig(), ClosedFormConfig(refine_gain=(0, 0, 0))):
        found, _, _ = run(Tracker("accurate", MODEL, config=config), images, boxes[0])
        overlaps.append(iou(found[-5:], np.array(boxes[-5:])).mean())
    assert overlaps[0] > overlaps[1] + 0.05
    assert overlaps[0] > 0.75


def test_it_runs_with_fewer_channels_than_the_refiner_knows(clip: Clip) -> None:
    boxes, _, _ = run(
        Tracker("accurate", MODEL, config=ClosedFormConfig(channels=16)), clip.images[:15], clip.first_box
    )
    assert iou(boxes, clip.boxes[1:15]).min() > 0.4


def test_a_black_spell_is_lost_and_over_when_it_ends(clip: Clip) -> None:
    black = np.zeros_like(clip.images[0])
    images = [*clip.images[:20], *[black] * 10, *clip.images[20:40]]
    boxes, states, _ = run(Tracker("accurate", MODEL), images, clip.first_box)
    assert states[28] is TrackState.LOST
    assert states[-1] is TrackState.TRACKED
    assert iou(boxes[-10:], clip.boxes[30:40]).min() > 0.5


def test_a_target_found_elsewhere_is_believed_after_two_frames(clip: Clip) -> None:
    """While it is away the scene jumps, so that it is back far from where it was last seen."""
    empty = [covered(image, clip.boxes[20]) for image in [clip.images[20]] * 12]
    shifted = [np.roll(image, (0, 150), (0, 1)) for image in [clip.images[20]] * 40]
    boxes, states, _ = run(Tracker("accurate", MODEL), [*clip.images[:20], *empty, *shifted], clip.first_box)
    x, y, w, h = clip.boxes[20]
    there = np.array([(x + 150) % 320, y, w, h])
    assert TrackState.LOST in states[19:31]
    assert iou(boxes[-1], there) > 0.5
    assert states[-1] is TrackState.TRACKED


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_grey_look_alike_is_not_taken_for_the_target_while_that_is_away(preset: str) -> None:
    """It crosses the picture all the time that the target is out of it (`edge-track demo` shows it)."""
    clip = SyntheticClip(WHOLE)
    tracker = Tracker(preset, MODEL)
    states, overlaps = [], []
    for (image, _), box in zip(clip, clip.boxes, strict=True):
        if not states:
            tracker.init(image, box)
            states.append(TrackState.TRACKED)
            overlaps.append(1.0)
            continue
        track = tracker.update(image)
        states.append(track.state)
        overlaps.append(float(iou(np.array(track.box), box)))
    away = np.flatnonzero(clip.visible == 0)
    away = away[away > 220]  # the second time
    assert len(away) > 20
    assert TrackState.TRACKED not in {states[i] for i in away[3:]}
    assert {states[i] for i in away[10:]} == {TrackState.LOST}
    assert min(overlaps[-5:]) > 0.5


def test_updates_while_lost_take_no_more_than_twice_as_long(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in runs of the backbone, which a busy machine does not change."""
    tracker = Tracker("accurate", MODEL)
    method = tracker._method
    calls = itertools.count()
    original = method.backbone
    monkeypatch.setattr(method, "backbone", lambda crop: (next(calls), original(crop))[1])
    tracker.init(clip.images[0], clip.first_box)
    noise = np.random.default_rng(0).integers(0, 256, clip.images[0].shape, dtype=np.uint8)
    for image in (*clip.images[1:10], *[noise] * 30):
        before = next(calls)
        tracker.update(image)
        assert next(calls) - before - 1 <= 2


@pytest.mark.parametrize(
    "box", [(0, 0, 320, 240), (300, 200, 60, 60), (10, 10, 1, 1), (-30, -30, 40, 40), (5, 5, 2, 90)]
)
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_odd_boxes_do_no_harm(preset: str, box: tuple[int, ...], clip: Clip) -> None:
    boxes, _, confidences = run(Tracker(preset, MODEL), clip.images[:8], box)
    assert np.isfinite(boxes).all()
    assert np.isfinite(confidences).all()
    assert (boxes[:, 2:] > 0).all()


def test_a_plain_target_and_plain_frames_do_no_harm() -> None:
    plain = np.full((120, 160, 3), 90, np.uint8)
    boxes, states, _ = run(Tracker("accurate", MODEL), [plain] * 10, (40, 40, 30, 30))
    assert np.isfinite(boxes).all()
    assert states[-1] is TrackState.LOST


def test_another_resolution_is_the_same_view(clip: Clip) -> None:
    import cv2

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


def test_auto_measures_once_and_takes_what_is_fast_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import edge_tracker.methods as presets

    measured = []

    def slow(_: object) -> float:
        measured.append(1)
        return 50.0

    monkeypatch.setattr(presets, "update_ms", slow)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    assert [Tracker("auto", MODEL).name for _ in range(2)] == ["fast", "fast"]
    assert measured == [1]
    store = presets.user_cache() / "auto.json"
    store.write_text(store.read_text().replace("50.0", "20.0"))
    assert Tracker("auto", MODEL).name == "accurate"
    store.write_text("{ broken")
    assert Tracker("auto", MODEL).name == "fast"
    assert measured == [1, 1]


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
        {"roi_scale": 0.5},
        {"channels": 0},
        {"ridge": 0.0},
        {"ridge": float("nan")},
        {"rate": 1.5},
        {"gate_low": 0.5},
        {"scale_levels": 4},
        {"scale_step": 1.0},
        {"lost_below": 0.9},
        {"lost_after": 0},
        {"known_above": -0.5},
        {"denied_below": float("nan")},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        ClosedFormConfig(**wrong)  # type: ignore[arg-type]
