"""Training of the refinement network: scenes are rendered once, the net is the NumPy one, a short run is of use."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra 'convert-onnx')")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import refinement_scenes as scenes
import train_refiner as script

from edge_tracker import Tracker
from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import deltas, iou, moved
from edge_tracker.closed_form.head import Head, load_head
from edge_tracker.closed_form.refinement_network import SHAPES, SURE
from edge_tracker.closed_form.refiner import Refiner
from edge_tracker.closed_form.view import View
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.roi import Window
from tests.conftest import Clip
from tests.scripts.conftest import HEAD, MODEL, SIDE

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture(scope="module")
def seen(rendered: Path, backbone: Backbone, head: Head) -> script.Scenes:
    return script.Scenes(rendered, backbone, head)


def sampler(seen: script.Scenes, backbone: Backbone) -> script.Sampler:
    return script.Sampler(seen, np.ones(len(seen.kind), np.bool_), script.grids_of(backbone), 0)


def test_a_detail_keeps_its_colours_inside_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_degraded", lambda _, picture: picture)
    monkeypatch.setattr(scenes.Light, "drifted", lambda self, *_: self)
    monkeypatch.setattr(scenes.Camera, "any", classmethod(lambda cls, _: cls(1.0, False, 0.0)))
    random = np.random.default_rng(0)
    photo = cv2.resize(random.integers(0, 256, (12, 18, 3), dtype=np.uint8), (240, 160), interpolation=cv2.INTER_CUBIC)
    for seed in range(10):
        views = scenes.detail_scene(np.random.default_rng(seed), photo, SIDE)
        assert len(views) == scenes.VIEWS
        cores = []
        for patch, (x, y, w, h), _ in views:
            inside = patch[int(y + 0.25 * h) : int(y + 0.75 * h) + 1, int(x + 0.25 * w) : int(x + 0.75 * w) + 1]
            cores.append(cv2.resize(inside, (6, 6), interpolation=cv2.INTER_AREA).astype(float).ravel())
        assert np.corrcoef(cores)[0].min() > 0.8


def test_frames_are_cropped_with_their_boxes(otb_folder: Path) -> None:
    task = read_tasks(otb_folder)[0]
    made = list(scenes.sequence_scenes(np.random.default_rng(0), task, 3, SIDE))
    assert len(made) == 3
    for views in made:
        sides = np.array([view.box[2:] for view in views])
        np.testing.assert_allclose(np.sqrt(sides.prod(axis=1)).mean(), SIDE / 3.2, rtol=0.15)
        assert all(view.patch.shape == (SIDE, SIDE, 3) for view in views)


def test_what_is_rendered_says_what_it_shows(seen: script.Scenes, rendered: Path) -> None:
    assert {"Alpha", "Beta", "DAVIS_one", ""} == set(seen.sequence.tolist())
    assert {"shape", "video", "photo"} < set(seen.kind.tolist())
    assert (seen.views >= 2).all()
    assert seen.first[-1] + seen.views[-1] == len(seen.box)
    assert (np.diff(seen.first) == seen.views[:-1]).all()
    assert all(len(seen.maps(kind, np.array([len(seen.box) - 1]))) == 1 for kind in range(3))
    patches = np.load(rendered / "patches.npy", mmap_mode="r")
    number = int(seen.first[len(seen.first) // 2])
    blocks = patches[number].reshape(48, 4, 48, 4, 3).mean(axis=(1, 3)) * 4 / 255 - 2
    np.testing.assert_allclose(
        seen.maps(2, np.array([number]))[0].permute(1, 2, 0).numpy(), blocks, atol=0.02
    )  # a grey level is .016


def test_the_exported_network_says_what_the_trained_one_does(
    seen: script.Scenes, rendered: Path, backbone: Backbone
) -> None:
    """From the same views: samples, attention, convolutions and identities are laid out alike; and taken up again."""
    torch.manual_seed(1)
    net = script.Net().eval()
    torch.nn.init.normal_(net.head_1.weight, std=0.8)
    fine, coarse, _ = script.grids_of(backbone)
    refiner = Refiner(net.export(), coarse, fine, (1.0, 1.0, 1.0))
    patches = np.load(rendered / "patches.npy", mmap_mode="r")
    one, two = (int(seen.first[0]) + k for k in (0, 1))

    def view(number: int) -> View:
        maps = [seen.maps(k, np.array([number]))[0].permute(1, 2, 0).contiguous().numpy() for k in (1, 0)]
        return View(Window(0, 0, SIDE), np.ascontiguousarray(patches[number]), maps[0], maps[1])

    boxes = [tuple(seen.box[number].tolist()) for number in (one, two)]
    refiner.start([(view(one), boxes[0])])
    said = refiner.predict(view(two), boxes[1])
    drawn = sampler(seen, backbone)
    numbers = np.array([one, two])
    with torch.no_grad():
        samples = drawn._samples(numbers, seen.box[numbers])
        expected = net(samples[:1], samples[1:])[0].numpy()
        vectors = net.identify(drawn._samples(numbers, seen.box[numbers], script.INNER, 1.0)).numpy()
        again = script.Net().eval()
        again.take(net.export())
        np.testing.assert_allclose(again(samples[:1], samples[1:])[0].numpy(), expected, atol=0.03)
    np.testing.assert_allclose([*said.errors, SURE * said.match], expected[:5], atol=0.03)
    np.testing.assert_allclose(np.log(said.scales), expected[5:], atol=0.03)
    for number, box, vector in zip(numbers, boxes, vectors, strict=True):
        np.testing.assert_allclose(refiner.identify(view(int(number)), [box])[0], vector, atol=0.02)
    assert abs(expected).max() > 0.1


def test_batches_are_true(seen: script.Scenes, backbone: Backbone) -> None:
    draw = sampler(seen, backbone)
    shares = []
    for _ in range(6):
        batch = draw()
        errors = batch.errors.numpy()
        np.testing.assert_allclose(deltas(batch.boxes, batch.truth), errors, atol=1e-5)
        np.testing.assert_allclose(moved(batch.boxes, errors), batch.truth, atol=1e-3)
        overlap = batch.overlap.numpy()
        plain = overlap > 0
        np.testing.assert_allclose(overlap[plain], iou(batch.boxes, batch.truth)[plain], atol=1e-5)
        assert batch.same.numpy().diagonal().all()
        shares.append([(overlap > script.RIGHT).mean(), (overlap < script.WRONG).mean()])
    right, wrong = np.mean(shares, axis=0)
    assert 0.3 < right < 0.8
    assert 0.1 < wrong < 0.6


def test_an_identity_is_found_among_its_rivals() -> None:
    own = torch.eye(4)
    none = torch.eye(4, dtype=torch.bool)
    good = script.identity_loss(own, own, -own, none)
    bad = script.identity_loss(own, -own, own, none)
    assert good < 0.01 < 5 < bad
    # Other views of the same object are no rivals.
    alike = torch.ones(4, 4) / 2
    assert script.identity_loss(alike, alike, -alike, torch.ones(4, 4, dtype=torch.bool)) < 0.01
    assert script.identity_loss(alike, alike, -alike, none) > 1


def test_equal_error() -> None:
    assert script.equal_error(np.array([1.0, 2.0]), np.array([-1.0, 0.0])) == 0
    assert script.equal_error(np.arange(100.0), np.arange(100.0)) == pytest.approx(0.5, abs=0.01)


def test_it_learns_goes_on_and_ends_in_a_file_that_tracks(
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clip: Clip,
    capsys: pytest.CaptureFixture[str],
    interrupted: Callable[[ModuleType], AbstractContextManager[None]],
) -> None:
    for name, value in (("REPORT", 15), ("REPORTED", 2)):
        monkeypatch.setattr(script, name, value)
    head = tmp_path / HEAD.name
    shutil.copy(HEAD, head)
    options = ["--model", str(MODEL), "--scenes", str(rendered), "--head", str(head), "--steps", "45"]
    with interrupted(script), pytest.raises(KeyboardInterrupt):
        script.main([*options, "--without", "Alpha"])
    checkpoint = head.with_name(head.name + ".checkpoint")
    assert checkpoint.is_file()
    for other in ([*options[:-1], "30", "--without", "Alpha"], options):  # fewer steps; learned from all sequences
        assert script.main(other) == 2
        assert "another training" in capsys.readouterr().err
    assert script.main([*options, "--without", "Alpha"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in lines] == ["step 30", "step 45"]
    assert not checkpoint.exists()
    info = load_backbone(MODEL, EngineOptions(taps=PURPOSES)).info
    before, after = (load_head(path, info) for path in (HEAD, head))
    assert after.refinement is not None
    assert set(after.refinement.tensors) == {"sharpness"} | {
        f"{name}.{part}" for name in SHAPES for part in ("weight", "bias")
    }
    np.testing.assert_array_equal(before.presence, after.presence)
    assert script.main([*options, "--begun", str(HEAD)]) == 0  # what was learned before is still of use
    trained = load_head(head, info).refinement
    assert script.main([*options, "--begun", str(HEAD), "--mean"]) == 0
    mean = load_head(head, info).refinement
    assert trained is not None
    assert mean is not None
    assert before.refinement is not None
    for name, tensor in mean.tensors.items():
        expected = (trained.tensors[name] + before.refinement.tensors[name]) / 2
        np.testing.assert_allclose(tensor, expected, rtol=2e-3, atol=1e-5)
    with pytest.raises(SystemExit):
        script.main([*options, "--mean"])
    tracker = Tracker("accurate", str(MODEL), models_dir=tmp_path)
    tracker.init(clip.images[0], clip.first_box)
    assert iou(np.array(tracker.update(clip.images[1]).box), clip.boxes[1]) > 0.5


def test_bad_input_is_told_in_one_line(
    tmp_path: Path, rendered: Path, backbone: Backbone, capsys: pytest.CaptureFixture[str]
) -> None:
    head = tmp_path / HEAD.name
    shutil.copy(HEAD, head)
    options = ["--model", str(MODEL), "--head", str(head)]
    for wrong in (
        [*options, "--scenes", str(tmp_path)],
        ["--model", str(MODEL), "--scenes", str(rendered), "--head", str(tmp_path / "none.safetensors")],
    ):
        assert script.main(wrong) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    head.with_name(head.name + ".checkpoint").write_bytes(b"no checkpoint")
    assert script.main([*options, "--scenes", str(rendered)]) == 2
    assert "delete it to begin anew" in capsys.readouterr().err
    seen = script.Scenes(rendered, backbone, load_head(HEAD, backbone.info))
    with pytest.raises(DatasetError, match="scenes"):
        script.Sampler(seen, np.zeros(len(seen.kind), np.bool_), script.grids_of(backbone), 0)


def test_scenes_rendered_anew_are_looked_at_anew(
    rendered: Path, backbone: Backbone, head: Head, tmp_path: Path
) -> None:
    for name in ("scenes.npz", "patches.npy"):
        shutil.copy(rendered / name, tmp_path)
    views = np.arange(4)
    before = script.Scenes(tmp_path, backbone, head).maps(0, views)
    patches = np.load(tmp_path / "patches.npy")
    np.save(tmp_path / "patches.npy", 255 - patches)
    later = time.time() + 5
    os.utime(tmp_path / "scenes.npz", (later, later))
    assert not torch.equal(script.Scenes(tmp_path, backbone, head).maps(0, views), before)
