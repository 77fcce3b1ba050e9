"""scripts/calibrate.py: the fit against known weights, the two halves apart, and a run that ends in a usable head."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_tracker import TrackState
from edge_tracker.backbones.base import PURPOSES
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.closed_form.head import load_head
from edge_tracker.closed_form.likeness import WEIGHTS
from edge_tracker.closed_form.tracker import ClosedFormTracker
from edge_tracker.errors import DatasetError
from edge_tracker.methods import PRESETS
from tests.conftest import ROOT, Clip

sys.path.insert(0, str(ROOT / "scripts"))

import calibrate as script

MODEL = PACKAGED / "edge-small.onnx"


def rows(weights: np.ndarray, count: int, half: int = 0, seed: int = 0) -> np.ndarray:
    """Evidence whose boxes are right with exactly the probability that `weights` give."""
    random = np.random.default_rng(seed)
    evidence = random.uniform(-0.5, 1, (count, WEIGHTS - 1))
    right = random.uniform(size=count) < 1 / (1 + np.exp(-(evidence @ weights[:-1] + weights[-1])))
    return np.column_stack([evidence, right, np.ones(count), np.full(count, half)])


def test_the_fit_finds_the_weights_that_made_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "PENALTY", 1e-9)
    weights = np.array([3.0, -1.0, 4.0, 1.0, -1.5])
    np.testing.assert_allclose(script.fit(rows(weights, 40_000)), weights, atol=0.25)


def test_a_row_counts_as_much_as_its_weight() -> None:
    few = rows(np.array([2.0, 1.0, 1.0, 1.0, -1.0]), 300)
    doubled = few.copy()
    doubled[:150, script.WEIGHT_COLUMN] = 2
    np.testing.assert_allclose(script.fit(doubled), script.fit(np.concatenate([few, few[:150]])), atol=1e-9)


def test_classes_that_part_cleanly_are_fitted_too() -> None:
    clean = rows(np.array([1.0, 1.0, 1.0, 0.0, 0.0]), 200)
    clean[:, script.RIGHT_COLUMN] = clean[:, 0] > 0.2
    assert np.isfinite(script.fit(clean)).all()


def test_each_half_is_judged_with_what_the_other_taught() -> None:
    """Where the halves contradict each other, both are judged wrongly."""
    weights = np.array([8.0, 0.0, 0.0, 0.0, -2.0])
    both = np.concatenate([rows(weights, 3000, 0), rows(-weights, 3000, 1, seed=1)])
    halves = script.fit_halves(both)
    np.testing.assert_allclose(halves[0], script.fit(both[3000:]))
    text, frames = script.report("accurate", np.concatenate([both, both * [1, 1, 1, 1, 1, 0.3, 1]]), weights)
    assert script.area_under_roc(frames.confidence[frames.right], frames.confidence[~frames.right]) < 0.2
    assert len(frames.right) == 6000  # looks while LOST are told apart
    assert "6000 looks while LOST" in text
    with pytest.raises(DatasetError, match="two sequences"):
        script.fit_halves(both[:3000])


def test_a_run_writes_weights_that_tell_the_target_from_its_absence(
    otb_folder: Path, tmp_path: Path, clip: Clip
) -> None:
    head = tmp_path / "edge-small.head.npz"
    shutil.copy(PACKAGED / head.name, head)
    options = ["--model", "edge-small", "--data", str(otb_folder), "--head", str(head), "--every", "4", "--judge"]
    command = [sys.executable, str(ROOT / "scripts" / "calibrate.py"), *options, "--plot", str(tmp_path / "plot.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if "AUROC 0" in line or "AUROC 1" in line] == ["accurate", "fast"]
    assert sum(line.startswith("| preset") for line in lines) == 2
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    backbone = load_backbone(MODEL, purposes=PURPOSES)
    before, after = (load_head(path, backbone.info) for path in (PACKAGED / head.name, head))
    for one, other in zip(before.projections, after.projections, strict=True):
        np.testing.assert_array_equal(one.directions, other.directions)
    assert after.presence.shape == (2, WEIGHTS)
    assert not np.array_equal(before.presence, after.presence)
    assert (after.presence[:, :-1].sum(axis=1) > 0).all()  # more evidence, more belief
    tracker = ClosedFormTracker(backbone, after, PRESETS["accurate"])
    tracker.init(clip.images[0], clip.first_box)
    assert [tracker.update(image).state for image in clip.images[1:10]] == [TrackState.TRACKED] * 9


def test_errors_are_one_line(otb_folder: Path, tmp_path: Path) -> None:
    for options in (["--head", str(tmp_path / "none.npz")], ["--head", str(MODEL)]):
        command = [sys.executable, str(ROOT / "scripts" / "calibrate.py"), "--model", "edge-small", *options]
        done = subprocess.run([*command, "--data", str(otb_folder)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert done.stderr.startswith("calibrate: ")
        assert len(done.stderr.splitlines()) == 1
