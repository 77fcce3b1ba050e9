"""Trackers in the shape of OpenCV's and of the got10k toolkit's, the latter under the toolkit's own runner."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_tracker import Cv2Tracker, Got10kTracker, Tracker
from edge_tracker.boxes import iou
from edge_tracker.errors import BoxError, ImageError
from tests.conftest import Clip

FRAMES = 10


def boxes_of_tracker(clip: Clip) -> np.ndarray:
    tracker = Tracker("fast", "edge-small")
    tracker.init(clip.images[0], clip.first_box)
    return np.array([clip.first_box, *(tracker.update(image).box for image in clip.images[1:FRAMES])])


def test_the_adapter_has_the_shape_of_cv2(clip: Clip) -> None:
    tracker = Cv2Tracker("accurate", "edge-small")
    tracker.init(clip.images[0], tuple(round(v) for v in clip.first_box))
    ok, box = tracker.update(clip.images[1])
    assert ok is True
    assert all(isinstance(v, int) for v in box)
    assert iou(np.array(box, float), clip.boxes[1]) > 0.5
    assert 0 < tracker.getTrackingScore() <= 1
    ok, _ = tracker.update(np.zeros_like(clip.images[0]))
    assert ok is False
    assert tracker.getTrackingScore() == 0


def test_rgb_comes_in_and_the_boxes_are_those_of_bgr(clip: Clip) -> None:
    tracker = Got10kTracker("fast", "edge-small")
    rgb = [np.ascontiguousarray(image[:, :, ::-1]) for image in clip.images[:FRAMES]]
    tracker.init(rgb[0], np.array(clip.first_box))
    found = [tracker.update(image) for image in rgb[1:]]
    assert found[0].shape == (4,)
    np.testing.assert_array_equal(found, boxes_of_tracker(clip)[1:])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pil_images_of_any_mode_are_taken(mode: str, clip: Clip) -> None:
    pil = pytest.importorskip("PIL.Image", reason="the images are PIL's")
    tracker = Got10kTracker("fast", "edge-small")
    images = [pil.fromarray(np.ascontiguousarray(image[:, :, ::-1])).convert(mode) for image in clip.images[:3]]
    tracker.init(images[0], clip.first_box)
    assert iou(tracker.update(images[1]), clip.boxes[1]) > 0.5


def test_what_is_no_image_or_box_is_refused(clip: Clip) -> None:
    tracker = Got10kTracker("fast", "edge-small")
    with pytest.raises(ImageError):
        tracker.init(np.zeros((4, 4, 3), np.float32), clip.first_box)
    with pytest.raises(BoxError):
        tracker.init(clip.images[0], (900, 900, 5, 5))


@pytest.fixture
def sequence(clip: Clip, tmp_path: Path) -> list[str]:
    files = [str(tmp_path / f"{number:04d}.png") for number in range(FRAMES)]
    for file, image in zip(files, clip.images, strict=False):
        cv2.imwrite(file, image)
    return files


class DataSet:
    """What the toolkit's experiments read of a data set."""

    def __init__(self, files: list[str], truth: np.ndarray) -> None:
        self.seq_names = ["Alpha"]
        self._pairs = [(files, truth)]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return self._pairs[index]


def test_the_toolkits_runner_takes_it_as_it_is(sequence: list[str], clip: Clip, tmp_path: Path) -> None:
    otb = pytest.importorskip("got10k.experiments.otb", reason="the runner is the got10k toolkit's")
    experiment = otb.ExperimentOTB.__new__(otb.ExperimentOTB)  # its constructor wants OTB on disk
    experiment.dataset = DataSet(sequence, clip.boxes[:FRAMES])
    experiment.result_dir, experiment.report_dir = str(tmp_path / "results"), str(tmp_path / "reports")
    experiment.nbins_iou, experiment.nbins_ce = 21, 51
    tracker = Got10kTracker("fast", "edge-small")
    experiment.run(tracker)
    written = np.loadtxt(tmp_path / "results" / "edge-tracker-fast" / "Alpha.txt", delimiter=",")
    np.testing.assert_allclose(written, boxes_of_tracker(clip), atol=1e-3)  # the toolkit writes three decimals


def test_the_toolkits_base_class_runs_it_too(sequence: list[str], clip: Clip) -> None:
    trackers = pytest.importorskip("got10k.trackers", reason="the runner is the got10k toolkit's")
    boxes, seconds = trackers.Tracker.track(Got10kTracker("fast", "edge-small", name="ours"), sequence, clip.first_box)
    np.testing.assert_allclose(boxes, boxes_of_tracker(clip))
    assert (seconds > 0).all()


def test_it_needs_no_toolkit_until_that_runs_it(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "got10k", None)  # what an import of an absent package meets
    tracker = Got10kTracker("fast", "edge-small", name="ours")
    tracker.init(SimpleNamespace(convert=lambda _: clip.images[0][:, :, ::-1]), clip.first_box)
    assert (tracker.name, tracker.is_deterministic) == ("ours", True)
