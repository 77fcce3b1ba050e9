"""Training of the refinement network: the scenes' boxes are right, the net is the NumPy one, a short run is of use."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra 'convert-onnx')")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import refinement_scenes as scenes
import train_refiner as script

from edge_tracker import Tracker
from edge_tracker.backbones.base import PURPOSES
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import iou
from edge_tracker.closed_form.head import load_head
from edge_tracker.closed_form.refiner import SURE, Refiner, View, colour_grid
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.grid import Grid
from tests.conftest import Clip

SIDE = 192
MODEL = PACKAGED / "edge-small.onnx"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def shape_on_plain_ground(seed: int = 0) -> np.ndarray:
    """A picture with a textured object in its middle."""
    random = np.random.default_rng(seed)
    image = np.full((160, 200, 3), 60, np.uint8) + random.integers(0, 12, (160, 200, 3), dtype=np.uint8)
    cv2.ellipse(image, (100, 80), (45, 30), 20, 0, 360, (40, 200, 230), -1)
    cv2.rectangle(image, (80, 70), (110, 90), (200, 40, 60), -1)
    return image


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), shape_on_plain_ground(number))
    return folder


def test_an_object_is_cut_out_and_plain_ground_is_none() -> None:
    photo = scenes.as_photo(shape_on_plain_ground())
    found = scenes.cut_out(photo)
    assert found is not None
    k = scenes.PHOTO_SIDE_PX / 200
    assert found.mask.shape == pytest.approx((k * 64, k * 88), rel=0.15)
    assert 0.55 < (found.mask > 0).mean() < 0.95
    assert scenes.cut_out(np.full((160, 240, 3), 90, np.uint8)) is None


def test_boxes_of_objects_follow_what_was_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tight boxes, the green object on grey ground lies just inside its box, in every view."""
    mask = np.zeros((60, 80), np.uint8)
    cv2.ellipse(mask, (40, 30), (39, 29), 0, 0, 360, 255, -1)
    item = scenes.CutOut(np.full((60, 80, 3), (0, 255, 0), np.uint8), mask)
    ground = np.full((160, 240, 3), 128, np.uint8)
    monkeypatch.setattr(scenes, "_degraded", lambda _, picture: picture)
    monkeypatch.setattr(scenes.Light, "drifted", lambda self, *_: self)
    monkeypatch.setattr(scenes, "_occluded", lambda _, picture, *__: picture)
    monkeypatch.setattr(scenes.Camera, "any", classmethod(lambda cls, _: cls(1.0, False)))
    overlaps = []
    for seed in range(40):
        views = scenes.object_scene(np.random.default_rng(seed), [item], [ground], 0, SIDE) or []
        for patch, box in views:
            green = (patch[..., 1] > 150) & (patch[..., 0] < 110) & (patch[..., 2] < 110)
            count, _, stats, _ = cv2.connectedComponentsWithStats(green.astype(np.uint8))
            assert count >= 2
            overlaps.append(max(float(iou(np.array(box), part[:4].astype(float))) for part in stats[1:]))
    # Parts of objects, and conventions other than the tight box, are what the rest is.
    assert len(overlaps) > 60
    assert np.median(overlaps) > 0.75
    assert np.max(overlaps) > 0.95


def test_a_detail_keeps_its_colours_inside_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_degraded", lambda _, picture: picture)
    monkeypatch.setattr(scenes.Light, "drifted", lambda self, *_: self)
    monkeypatch.setattr(scenes.Camera, "any", classmethod(lambda cls, _: cls(1.0, False)))
    random = np.random.default_rng(0)
    photo = cv2.resize(random.integers(0, 256, (12, 18, 3), dtype=np.uint8), (240, 160), interpolation=cv2.INTER_CUBIC)
    for seed in range(10):
        views = scenes.detail_scene(np.random.default_rng(seed), photo, SIDE)
        assert len(views) == scenes.VIEWS
        cores = []
        for patch, (x, y, w, h) in views:
            inside = patch[int(y + 0.25 * h) : int(y + 0.75 * h) + 1, int(x + 0.25 * w) : int(x + 0.75 * w) + 1]
            cores.append(cv2.resize(inside, (6, 6), interpolation=cv2.INTER_AREA).astype(float).ravel())
        assert np.corrcoef(cores)[0].min() > 0.8


def test_frames_are_cropped_with_their_boxes(otb_folder: Path) -> None:
    task = read_tasks(otb_folder)[0]
    made = list(scenes.sequence_scenes(np.random.default_rng(0), task, 3, SIDE))
    assert len(made) == 3
    for views in made:
        sides = np.array([box[2:] for _, box in views])
        np.testing.assert_allclose(np.sqrt(sides.prod(axis=1)).mean(), SIDE / 3.2, rtol=0.15)
        assert all(patch.shape == (SIDE, SIDE, 3) for patch, _ in views)


@pytest.fixture(scope="module")
def looks(otb_folder: Path) -> list[script.Scene]:
    head = load_head(PACKAGED / "edge-small.head.npz", load_backbone(MODEL, purposes=PURPOSES).info)
    images = [scenes.as_photo(shape_on_plain_ground(number)) for number in range(4)]
    todo = script.jobs(read_tasks(otb_folder)[:2], images, SIDE, 0, 2)

    def load() -> object:
        return load_backbone(MODEL, purposes=PURPOSES, side=SIDE)

    return script.look_at(todo, load, head, 2)


def grids() -> list[Grid]:
    info = load_backbone(MODEL, purposes=PURPOSES, side=SIDE).info
    return [*(Grid.over(SIDE, tap.stride, tap.receptive_offset_px) for tap in reversed(info.taps)), colour_grid(SIDE)]


def test_the_exported_network_says_what_the_trained_one_does(looks: list[script.Scene]) -> None:
    """From the same looks: samples, attention and convolutions are laid out alike."""
    torch.manual_seed(1)
    net = script.Net().eval()
    torch.nn.init.normal_(net.head_1.weight, std=1.0)
    fine, coarse, _ = grids()
    refiner = Refiner(net.export(), coarse, fine)
    one, two = next(scene for scene in looks if len(scene.looks) > 3).looks[:2]

    def view(look: script.Look) -> View:
        # The patch is not kept, but colours are the means of its cells.
        patch = np.repeat(np.repeat((look.colours.astype(np.float32) + 2) * 255 / 4, 4, 0), 4, 1)
        return View(
            look.coarse.astype(np.float32),
            look.fine.astype(np.float32),
            patch.round().astype(np.uint8),
            tuple(look.box),
        )

    refiner.start([view(one)])
    said = refiner.predict(view(two))
    sampler = script.Sampler(looks, looks, grids(), 0)
    with torch.no_grad():
        samples = [sampler._samples([look], look.box[None]) for look in (one, two)]
        expected = net(*samples)[0].numpy()
    np.testing.assert_allclose(np.append(said.errors, SURE * said.match), expected, atol=0.03)
    assert abs(expected).max() > 0.1


def test_errors_lead_back_to_the_truth(looks: list[script.Scene]) -> None:
    sampler = script.Sampler(looks, looks, grids(), 0)
    batch = sampler(48)
    back = script.moved(batch.boxes, script.errors_of(batch.boxes, batch.truth))
    np.testing.assert_allclose(back, batch.truth, atol=1e-9)
    overlap = batch.overlap.numpy()
    assert 0.3 < (overlap > script.RIGHT).mean() < 0.8
    assert 0.1 < (overlap < script.WRONG).mean() < 0.6


def test_it_learns_goes_on_and_ends_in_a_file_that_tracks(
    otb_folder: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clip: Clip,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (("REPORT", 15), ("REPORTED", 2), ("OBJECT_SCENES", 4), ("UNSEEN_SCENES", 8), ("BATCH", 16)):
        monkeypatch.setattr(script, name, value)
    head = tmp_path / "edge-small.head.npz"
    shutil.copy(PACKAGED / head.name, head)
    options = ["--model", "edge-small", "--data", str(otb_folder), "--photos", str(photos), "--head", str(head)]
    real = script.write_whole

    def interrupted(path: Path, write: object) -> None:
        real(path, write)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(script, "write_whole", interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.main([*options, "--steps", "60", "--hold-out"])
    checkpoint = head.with_name(head.name + ".checkpoint")
    assert checkpoint.is_file()
    assert script.main([*options, "--steps", "45"]) == 2
    assert "another training" in capsys.readouterr().err
    assert script.main([*options, "--steps", "60"]) == 2  # it has not learned from all sequences
    assert "another training" in capsys.readouterr().err
    assert script.main([*options, "--steps", "60", "--hold-out"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in lines] == ["step 30", "step 45", "step 60"]
    assert not checkpoint.exists()
    info = load_backbone(MODEL, purposes=PURPOSES).info
    before, after = (load_head(path, info) for path in (PACKAGED / head.name, head))
    assert after.refinement is not None
    np.testing.assert_array_equal(before.presence, after.presence)
    np.testing.assert_array_equal(before.projections[0].directions, after.projections[0].directions)
    tracker = Tracker("accurate", str(MODEL), models_dir=tmp_path)
    tracker.init(clip.images[0], clip.first_box)
    assert iou(np.array(tracker.update(clip.images[1]).box), clip.boxes[1]) > 0.5


def test_bad_input_is_told_in_one_line(tmp_path: Path, otb_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = tmp_path / "edge-small.head.npz"
    shutil.copy(PACKAGED / head.name, head)
    options = ["--model", "edge-small", "--data", str(otb_folder), "--photos", str(tmp_path)]
    for given in (str(tmp_path / "none.npz"), str(head)):
        assert script.main([*options, "--head", given]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    head.with_name(head.name + ".checkpoint").write_bytes(b"no checkpoint")
    cv2.imwrite(str(tmp_path / "photo.png"), shape_on_plain_ground())
    assert script.main([*options, "--head", str(head)]) == 2
    error = capsys.readouterr().err.strip()
    assert "delete it to begin anew" in error
    assert len(error.splitlines()) == 1
    with pytest.raises(EdgeTrackerError, match="scenes"):
        script.Sampler([], [], grids(), 0)
