"""The loop of Algorithm 1: it follows, it does not drift to a side, and it repeats itself exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_tracker.backbones.base import Tap
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.boxes import iou
from edge_tracker.config import FmstConfig
from edge_tracker.fmst.tracker import FmstTracker
from tests.conftest import Clip


def track(backbone: OnnxRuntimeBackbone, clip: Clip, config: FmstConfig, frames: int = 120) -> np.ndarray:
    tracker = FmstTracker(backbone, config)
    tracker.init(clip.images[0], clip.first_box)
    return np.array([clip.first_box] + [tracker.update(image).box for image in clip.images[1:frames]])


def test_it_follows_the_target(filterbank: OnnxRuntimeBackbone, clip: Clip) -> None:
    overlaps = iou(track(filterbank, clip, FmstConfig()), clip.boxes)
    assert overlaps.mean() > 0.6
    assert overlaps.min() > 0.3


def test_boxes_carry_no_systematic_offset(filterbank: OnnxRuntimeBackbone, clip: Clip) -> None:
    """Half a cell of the grid is a sixth of the target's size here; a slip of the grid would show as that."""
    boxes = np.concatenate([track(filterbank, clip, FmstConfig(seed=seed)) for seed in range(3)])
    truth = np.tile(clip.boxes, (3, 1))
    error = (boxes[:, :2] + boxes[:, 2:] / 2 - truth[:, :2] - truth[:, 2:] / 2) / truth[:, 2:]
    assert np.abs(np.median(error, axis=0)).max() < 0.06


def test_a_grid_that_lies_elsewhere_is_seen_as_such(filterbank: OnnxRuntimeBackbone, clip: Clip) -> None:
    """The test above can fail: with the grid said to lie 8 px to the right, boxes are off to the left."""

    class Shifted:
        info = replace(filterbank.info, taps=tuple(replace(t, grid_offset_px=8.0) for t in filterbank.info.taps))
        __call__ = staticmethod(filterbank.__call__)

    tracker = FmstTracker(Shifted(), FmstConfig())  # type: ignore[arg-type]
    tracker.init(clip.images[0], clip.first_box)
    boxes = np.array([tracker.update(image).box for image in clip.images[1:]])
    error = (boxes[:, :2] + boxes[:, 2:] / 2 - clip.boxes[1:, :2] - clip.boxes[1:, 2:] / 2) / clip.boxes[1:, 2:]
    assert np.abs(np.median(error, axis=0)).max() > 0.06
    assert isinstance(Shifted.info.taps[0], Tap)


def test_the_same_seed_gives_the_same_boxes_bit_for_bit(filterbank: OnnxRuntimeBackbone, clip: Clip) -> None:
    first, second = (track(filterbank, clip, FmstConfig(seed=5), frames=40) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, track(filterbank, clip, FmstConfig(seed=6), frames=40))


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
def test_every_variant_of_the_paper_runs(config: FmstConfig, filterbank: OnnxRuntimeBackbone, clip: Clip) -> None:
    boxes = track(filterbank, clip, config, frames=15)
    assert np.isfinite(boxes).all()
    assert iou(boxes, clip.boxes[:15])[:5].min() > 0.2


def test_init_again_forgets_the_past(filterbank: OnnxRuntimeBackbone, clip: Clip) -> None:
    tracker = FmstTracker(filterbank, FmstConfig())
    tracker.init(clip.images[60], tuple(clip.boxes[60]))
    for image in clip.images[61:80]:
        tracker.update(image)
    tracker.init(clip.images[0], clip.first_box)
    again = [tracker.update(image).box for image in clip.images[1:10]]
    np.testing.assert_array_equal(again, track(filterbank, clip, FmstConfig(), frames=10)[1:])
