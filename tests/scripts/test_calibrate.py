"""scripts/calibrate.py: the fit against known weights, folds apart, and a run that ends in a usable head."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_tracker import TrackState
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import load_head
from edge_tracker.closed_form.likeness import WEIGHTS
from edge_tracker.closed_form.tracker import ClosedFormTracker
from edge_tracker.errors import DatasetError
from tests.conftest import ROOT, Clip

sys.path.insert(0, str(ROOT / "scripts"))

import calibrate as script

MODEL = PACKAGED / "edge-small.onnx"
HEAD = PACKAGED / "edge-small.head.safetensors"


def rows(weights: np.ndarray, count: int, fold: int = 0, seeking: int = 0, seed: int = 0) -> np.ndarray:
    """Evidence whose boxes are right with exactly the probability that `weights` give; each row a clip of its own."""
    random = np.random.default_rng([seed, fold, seeking])
    evidence = random.uniform(-0.5, 1, (count, WEIGHTS - 1))
    right = random.uniform(size=count) < 1 / (1 + np.exp(-(evidence @ weights[:-1] + weights[-1])))
    constants = np.tile([seeking, fold], (count, 1))
    return np.column_stack([evidence, right, constants, np.arange(count), np.zeros(count)])


def test_the_fit_finds_the_weights_that_made_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "PENALTY", 1e-9)
    weights = np.array([3.0, -1.0, 4.0, 1.0, 2.0, -1.5])
    np.testing.assert_allclose(script.fit(rows(weights, 40_000)), weights, atol=0.25)


def test_a_long_failure_does_not_outweigh_all_others() -> None:
    """A clip's right and wrong looks weigh as the square root of their number."""
    found = rows(np.zeros(WEIGHTS), 6)
    found[:4, script.CLIP], found[4:, script.CLIP] = 1, 2
    found[:, script.RIGHT_COLUMN] = [0, 0, 0, 0, 1, 0]
    shares = script.shares(found)
    assert shares.sum() == pytest.approx(1)
    assert shares == pytest.approx(np.array([0.5, 0.5, 0.5, 0.5, 1, 1]) / 4)


def test_classes_that_part_cleanly_are_fitted_too_and_one_alone_is_refused() -> None:
    clean = rows(np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]), 200)
    clean[:, script.RIGHT_COLUMN] = clean[:, 0] > 0.2
    assert np.isfinite(script.fit(clean)).all()
    clean[:, script.RIGHT_COLUMN] = 1
    with pytest.raises(DatasetError, match="right and wrong"):
        script.fit(clean)


def test_following_and_seeking_are_fitted_apart_and_the_margin_counts_while_seeking_alone() -> None:
    one, other = np.array([4.0, 0, 0, 0, 3.0, -1]), np.array([-4.0, 0, 0, 0, 3.0, 1])
    fitted = script.fit_both(np.concatenate([rows(one, 4000), rows(other, 4000, seeking=1)]))
    assert fitted.shape == (2, WEIGHTS)
    assert fitted[0, 0] > 2 > -2 > fitted[1, 0]
    assert fitted[0, script.MARGIN] == 0
    assert fitted[1, script.MARGIN] > 2


def test_the_report_judges_by_the_weights_it_is_given() -> None:
    weights = np.array([8.0, 0.0, 0.0, 0.0, 0.0, -2.0])
    both = np.concatenate([rows(weights, 3000), rows(weights, 3000, seeking=1)])
    good, bad = (script.report("x", both, np.stack([w, w])) for w in (weights, -weights))
    areas = [float(text.split("AUROC ")[1].split(" ")[0]) for text in (good, bad)]
    assert areas[0] > 0.85
    assert areas[1] == pytest.approx(1 - areas[0], abs=0.002)
    assert "3000 looks" in good


@pytest.fixture(scope="module")
def footage(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 80 frames, forwards and backwards, as sequences of two folds."""
    root = tmp_path_factory.mktemp("footage")
    for name, way in (("TUD_Campus_p2", 1), ("DAVIS_kite-surf", -1)):
        (root / name / "img").mkdir(parents=True)
        for number, image in enumerate(clip.images[:80][::way], start=1):
            cv2.imwrite(str(root / name / "img" / f"{number:04d}.png"), image)
        truth = clip.boxes[:80][::way] + np.array([1, 1, 0, 0])
        np.savetxt(root / name / "groundtruth_rect.txt", truth, fmt="%.3f", delimiter=",")
    return root


def test_a_run_writes_weights_that_tell_the_target_from_its_absence(footage: Path, tmp_path: Path, clip: Clip) -> None:
    own = tmp_path / "b" / MODEL.name  # fold B is watched with a model of its own, with its head beside
    own.parent.mkdir()
    shutil.copy(MODEL, own)
    paths = [tmp_path / HEAD.name, tmp_path / "a.safetensors", own.parent / HEAD.name]
    for path in paths:
        shutil.copy(HEAD, path)
    options = [
        "--model",
        str(MODEL),
        "--data",
        str(footage),
        "--head",
        str(paths[0]),
        "--rows",
        str(tmp_path / "r.npz"),
    ]
    options += ["--unseen", f"A={paths[1]}", "--unseen", f"B={own}"]
    command = [sys.executable, str(ROOT / "scripts" / "calibrate.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    starts = [line.split(":")[0] for line in done.stdout.splitlines() if "AUROC" in line]
    assert starts == ["fold A", "fold B"]
    info = load_backbone(MODEL, EngineOptions(taps=PURPOSES)).info
    before, *after = (load_head(path, info) for path in (HEAD, *paths))
    presence = [head.presence for head in after]
    assert all(p.shape == (2, WEIGHTS) for p in presence)
    assert not any(np.array_equal(presence[i], presence[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert not np.array_equal(presence[0], before.presence)
    assert (presence[0][:, :-1].sum(axis=1) > 0).all()  # more evidence, more belief
    again = subprocess.run(command, capture_output=True, text=True, timeout=100)  # from the rows, without tracking
    assert again.stdout == done.stdout
    config = ClosedFormConfig()
    side = config.input_side
    backbone = load_backbone(MODEL, EngineOptions(taps=PURPOSES, height=side, width=side))
    tracker = ClosedFormTracker(backbone, after[0], config)
    tracker.init(clip.images[0], tuple(clip.first_box))
    states = [tracker.update(image).state for image in clip.images[1:10]]
    assert TrackState.LOST not in states
    assert states.count(TrackState.TRACKED) >= 7


def test_errors_are_one_line(otb_folder: Path, tmp_path: Path) -> None:
    for options in (["--head", str(tmp_path / "none.safetensors")], ["--head", str(MODEL)]):
        command = [sys.executable, str(ROOT / "scripts" / "calibrate.py"), "--model", "edge-small", *options]
        done = subprocess.run([*command, "--data", str(otb_folder)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert done.stderr.startswith("calibrate: ")
        assert len(done.stderr.splitlines()) == 1


def test_one_unseen_fold_is_refused_at_once(otb_folder: Path) -> None:
    """The weights of a fold are fitted to the others."""
    command = [sys.executable, str(ROOT / "scripts" / "calibrate.py"), "--model", "edge-small", "--head", str(HEAD)]
    command += ["--data", str(otb_folder), "--unseen", f"A={HEAD}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "two folds or more" in done.stderr
