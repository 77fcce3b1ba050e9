"""The public tracker: what it takes, what it refuses, and that it repeats itself."""

from __future__ import annotations

import copy
import multiprocessing.reduction
import pickle
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from inspect import signature

import numpy as np
import pytest

from edge_tracker import EdgeTrackerError, Tracker, TrackState
from edge_tracker.boxes import iou
from edge_tracker.errors import BoxError, ConfigError, ImageError, ModelError
from edge_tracker.methods import prepare
from edge_tracker.service.config import TrackerConfig
from tests.conftest import Clip


def boxes_of(tracker: Tracker, clip: Clip, frames: int = 30) -> np.ndarray:
    tracker.init(clip.images[0], clip.first_box)
    return np.array([tracker.update(image).box for image in clip.images[1:frames]])


def test_threads_do_not_change_a_bit(clip: Clip) -> None:
    one, two = (boxes_of(Tracker("fmst", threads=n), clip) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, boxes_of(Tracker("fmst", threads=1), clip))


def test_the_seed_is_the_only_chance(clip: Clip) -> None:
    assert not np.array_equal(boxes_of(Tracker(), clip), boxes_of(Tracker(seed=1), clip))


def test_track_has_box_confidence_and_state(clip: Clip) -> None:
    tracker = Tracker()
    tracker.init(clip.images[0], np.array(clip.first_box))
    track = tracker.update(clip.images[1])
    assert len(track.box) == 4
    assert all(isinstance(v, float) for v in track.box)
    assert 0 <= track.confidence <= 1
    assert track.state is TrackState.TRACKED


def test_grayscale_and_bgra_are_converted(clip: Clip) -> None:
    image = clip.images[0]
    grey = image.mean(axis=2).astype(np.uint8)
    for other in (grey, np.asmatrix(grey), np.dstack([image, image[..., :1]])):
        tracker = Tracker()
        tracker.init(other, clip.first_box)
        assert iou(np.array(tracker.update(other).box), np.array(clip.first_box)) > 0.5


def test_bgra_gives_the_boxes_of_bgr(clip: Clip) -> None:
    tracker = Tracker()
    expected = boxes_of(tracker, clip, 5)
    bgra = [np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]) for image in clip.images[:5]]
    tracker.init(bgra[0], clip.first_box)
    np.testing.assert_array_equal([tracker.update(image).box for image in bgra[1:]], expected)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 2), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros(10, np.uint8),
        None,
        "image.png",
    ],
    ids=["float", "two channels", "no pixels", "1-D", "None", "path"],
)
def test_what_is_no_image_is_refused_and_nothing_is_lost(image: object, clip: Clip) -> None:
    tracker = Tracker()
    with pytest.raises(ImageError):
        tracker.init(image, clip.first_box)  # type: ignore[arg-type]
    tracker.init(clip.images[0], clip.first_box)
    with pytest.raises(ImageError):
        tracker.update(image)  # type: ignore[arg-type]
    assert iou(np.array(tracker.update(clip.images[1]).box), clip.boxes[1]) > 0.5


def test_a_bad_second_init_leaves_the_first_target(clip: Clip) -> None:
    tracker = Tracker()
    tracker.init(clip.images[0], clip.first_box)
    with pytest.raises(BoxError):
        tracker.init(clip.images[0], (1000, 1000, 5, 5))
    assert iou(np.array(tracker.update(clip.images[1]).box), clip.boxes[1]) > 0.5


def test_update_before_init_is_refused(clip: Clip) -> None:
    with pytest.raises(EdgeTrackerError, match="before init"):
        Tracker().update(clip.images[0])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"tracker": "kcf"}, ConfigError),
        ({"threads": 0}, ConfigError),
        ({"engine": "tensorrt"}, ConfigError),
        ({"model": "resnet"}, ModelError),
        ({"model": "mobilenetv3-small"}, ModelError),
        ({"model": "nowhere/model.onnx"}, ModelError),
        ({"models_dir": "/no/such/folder"}, ModelError),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Tracker(**arguments)  # type: ignore[arg-type]


def test_black_frames_are_lost_and_the_target_is_found_after_them(clip: Clip) -> None:
    tracker = Tracker()
    tracker.init(clip.images[0], clip.first_box)
    before = tracker.update(clip.images[1])
    noise = np.random.default_rng(0).integers(0, 3, clip.images[0].shape, dtype=np.uint8)
    for frame in (noise, np.full_like(noise, 255)):
        track = tracker.update(frame)
        assert track.state is TrackState.LOST
        assert track.confidence == 0
        assert track.box == before.box
    assert iou(np.array(tracker.update(clip.images[2]).box), clip.boxes[2]) > 0.5


def test_a_frame_of_another_size_is_the_same_view(clip: Clip) -> None:
    tracker = Tracker()
    tracker.init(clip.images[0], clip.first_box)
    doubled = clip.images[1].repeat(2, axis=0).repeat(2, axis=1)
    assert iou(np.array(tracker.update(doubled).box), 2 * clip.boxes[1]) > 0.5
    assert iou(np.array(tracker.update(clip.images[2]).box), clip.boxes[2]) > 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8000, 6000)])
def test_odd_frame_sizes_are_survived(size: tuple[int, int]) -> None:
    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tracker = Tracker()
    tracker.init(image, (0, 0, width, height))
    track = tracker.update(image)
    assert np.isfinite(track.box).all()


@pytest.mark.parametrize(
    ("copy", "says"),
    [
        (pickle.dumps, "make it in the worker process"),
        (lambda tracker: multiprocessing.reduction.ForkingPickler.dumps(tracker), "make it in the worker process"),
        (copy.copy, "several targets with methods.prepare"),
        (copy.deepcopy, "several targets with methods.prepare"),
    ],
    ids=["pickle", "multiprocessing", "copy", "deepcopy"],
)
def test_a_tracker_that_is_copied_says_what_to_do_instead(
    copy: Callable[[Tracker], object], says: str, clip: Clip
) -> None:
    tracker = Tracker("fast", "edge-small")
    tracker.init(clip.images[0], clip.first_box)
    with pytest.raises(TypeError, match=says):
        copy(tracker)
    assert tracker.update(clip.images[1]).state is TrackState.TRACKED  # it goes on


def test_what_it_says_to_do_instead_works(clip: Clip) -> None:
    """What makes a tracker can be pickled."""
    make = pickle.loads(pickle.dumps(partial(Tracker, "fast", "edge-small", seed=3)))
    tracker = make()
    tracker.init(clip.images[0], clip.first_box)
    assert tracker.update(clip.images[1]).state is TrackState.TRACKED


def test_it_takes_the_arguments_of_prepare_and_a_configuration_can_state_them() -> None:
    taken = list(signature(Tracker).parameters.values())
    assert taken == list(signature(prepare).parameters.values())
    assert {field.name for field in fields(TrackerConfig)} == {parameter.name for parameter in taken} - {"config"}
    with pytest.raises(TypeError, match="modle"):
        Tracker(modle="edge-small")  # type: ignore[call-arg]
