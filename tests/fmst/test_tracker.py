"""The loop of Algorithm 1: it follows, it does not drift to a side, and it repeats itself exactly."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker.backbones.base import Backbone
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.boxes import iou
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.tracker import FmstTracker
from tests.clips import Pose, act
from tests.conftest import Clip


def track(backbone: Backbone, clip: Clip, config: FmstConfig, frames: int = 120) -> np.ndarray:
    tracker = FmstTracker(backbone, config)
    tracker.init(clip.images[0], clip.first_box)
    return np.array([clip.first_box] + [tracker.update(image).box for image in clip.images[1:frames]])


def test_it_follows_the_target(edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    """A box that stays where it began has a mean overlap of .06; one that goes with the other disc ends at 0."""
    overlaps = iou(track(edge_small, clip, FmstConfig()), clip.boxes)
    assert overlaps.mean() > 0.5
    assert overlaps.min() > 0.15


def offset(backbone: Backbone, clip: Clip, seeds: int) -> np.ndarray:
    """Median over frames and seeds of how far boxes lie right and down of the truth, in shares of its size."""
    boxes = np.concatenate([track(backbone, clip, FmstConfig(seed=seed)) for seed in range(seeds)])
    truth = np.tile(clip.boxes, (seeds, 1))
    error = (boxes[:, :2] + boxes[:, 2:] / 2 - truth[:, :2] - truth[:, 2:] / 2) / truth[:, 2:]
    return np.asarray(np.median(error, axis=0))


def test_boxes_carry_no_systematic_offset(edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    """A grid that slipped by half a cell, 8 px of a crop three targets wide, moves boxes by .107: no more than half."""
    assert np.abs(offset(edge_small, clip, seeds=3)).max() < 0.107 / 2


def test_features_that_lie_elsewhere_are_seen_as_such(edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    """The test above can fail: with the maps of a crop that is moved 8 px left and up, so are the boxes."""

    class Shifted:
        info = edge_small.info

        def __call__(self, crop: np.ndarray) -> list[np.ndarray]:
            return edge_small(np.ascontiguousarray(np.roll(crop, (-8, -8), (0, 1))))

    moved = offset(Shifted(), clip, seeds=1) - offset(edge_small, clip, seeds=1)
    np.testing.assert_allclose(moved, -0.107, atol=0.04)


def test_the_same_seed_gives_the_same_boxes_bit_for_bit(edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    first, second = (track(edge_small, clip, FmstConfig(seed=5), frames=40) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, track(edge_small, clip, FmstConfig(seed=6), frames=40))


@pytest.mark.parametrize(
    "config",
    [
        FmstConfig(maps="C"),
        FmstConfig(maps="SC"),
        FmstConfig(layers="sum"),
        FmstConfig(maps="SC", layers="sum"),
        FmstConfig(alpha=0.5),
        FmstConfig(averaged=1, mean_size=0.996),
    ],
    ids=str,
)
def test_every_variant_of_the_paper_runs(config: FmstConfig, edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    boxes = track(edge_small, clip, config, frames=15)
    assert np.isfinite(boxes).all()
    assert iou(boxes, clip.boxes[:15]).min() > 0.5  # the target has hardly moved by then


def test_init_again_forgets_the_past(edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    tracker = FmstTracker(edge_small, FmstConfig())
    tracker.init(clip.images[60], tuple(clip.boxes[60]))
    for image in clip.images[61:80]:
        tracker.update(image)
    tracker.init(clip.images[0], clip.first_box)
    again = [tracker.update(image).box for image in clip.images[1:10]]
    np.testing.assert_array_equal(again, track(edge_small, clip, FmstConfig(), frames=10)[1:])


def test_scores_follow_a_target_that_becomes_another(edge_small: OnnxRuntimeBackbone) -> None:
    """With the smoothing of the scores at 1, the channels stay those of frame 1."""
    clip = act(Pose(160 + 40 * np.sin(k / 9), 120, morph=min(1, k / 30), light=1 - 0.3 * k / 60) for k in range(60))
    boxes = []
    for eta in (0.8, 1.0):
        tracker = FmstTracker(edge_small, FmstConfig(eta=eta))
        tracker.init(clip.images[0], clip.first_box)
        boxes.append([tracker.update(image).box for image in clip.images[1:]])
    follows, stays = (iou(np.array(found), clip.boxes[1:])[-20:].mean() for found in boxes)
    assert not np.array_equal(boxes[0], boxes[1])
    assert follows > 0.5
    assert follows > stays


def test_a_large_target_is_not_believed_to_become_smaller_than_10_pixels(edge_small: OnnxRuntimeBackbone) -> None:
    clip = act([Pose(160, 120, w=24, h=24)] * 3)
    tracker = FmstTracker(edge_small, FmstConfig())
    tracker.init(clip.images[0], clip.first_box)
    small = np.ascontiguousarray(clip.images[1][::4, ::4])  # now it has 6 px
    tracker.rescale(0.25, 0.25, (80, 60))
    for _ in range(3):
        assert tracker.update(small).box[2:] == (10.0, 10.0)
