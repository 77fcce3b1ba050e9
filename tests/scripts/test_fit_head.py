"""Fitting a head: its directions against an eigendecomposition of all features at once, its crops, its errors."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import fit_head as script

from edge_tracker.backbones.base import PURPOSES, BackboneInfo, EngineOptions, Layer, Tap
from edge_tracker.backbones.catalogue import HEAD, PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import fit_projection, load_head
from edge_tracker.errors import ModelError
from tests.conftest import Clip, restated


@pytest.fixture(scope="module")
def photos(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(clip.images[::20]):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    cv2.imwrite(str(folder / "speck.png"), np.full((1, 2, 3), 90, np.uint8))
    (folder / "notes.txt").write_text("no picture")
    return folder


class Colours:
    """A backbone of 4 x 4 and 8 x 8 cells: mean and deviation of the colours, and two channels that are dead."""

    info = BackboneInfo(
        "colours",
        16,
        16,
        (
            Tap("coarse", 4, (Layer("a", 8),)),
            Tap("fine", 2, (Layer("b", 8),), purpose="localisation"),
        ),
        "0" * 64,
    )

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        maps = []
        for stride in (4, 2):
            cells = crop.reshape(16 // stride, stride, 16 // stride, stride, 3).swapaxes(1, 2).astype(np.float32)
            cells = cells.reshape(16 // stride, 16 // stride, -1, 3)
            dead = np.broadcast_to(np.array([0, 3], np.float32), (*cells.shape[:2], 2))
            maps.append(np.concatenate([cells.mean(axis=2), cells.std(axis=2), dead], axis=2))
        return maps


def correlated(count: int) -> list[NDArray[np.uint8]]:
    """Crops whose colours go together, so that some directions tell more than others."""
    random = np.random.default_rng(0)
    mixing = np.array([[50, 20, 5], [40, -10, 3], [30, 5, -8]])
    smooth = random.normal(size=(count, 4, 4, 3)).repeat(4, 1).repeat(4, 2) + 0.4 * random.normal(
        size=(count, 16, 16, 3)
    )
    return list(np.clip(128 + smooth @ mixing.T, 0, 255).astype(np.uint8))


def test_directions_are_the_principal_ones_of_all_features() -> None:
    crops = correlated(60)
    found, cells = script.fit(Colours(), crops)
    assert list(found) == ["coarse", "fine"]
    assert cells == 60 * 16
    for index in range(len(Colours.info.taps)):
        features = np.concatenate([Colours()(crop)[index].reshape(-1, 8) for crop in crops]).astype(float)
        alive = features[:, :6]
        standard = (alive - alive.mean(axis=0)) / alive.std(axis=0)
        _, singular, directions = np.linalg.svd(standard, full_matrices=False)
        values = singular**2 / len(standard)
        assert (np.diff(values) < -1e-3).all()  # apart enough for each direction to be one
        expected = directions.T / alive.std(axis=0)[:, None] * values**-0.25
        projection = found[Colours.info.taps[index].name]
        sign = np.sign((projection.directions[:6, :6] * expected).sum(axis=0))
        np.testing.assert_allclose(projection.directions[:6, :6], sign * expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(projection.directions[6:, :6], 0)  # no weight for the dead
        projected = projection(Colours()(crops[0])[index])[..., :6].reshape(-1, 6)
        np.testing.assert_allclose(
            projected, (features[: len(projected), :6] - alive.mean(axis=0)) @ (sign * expected), atol=1e-3
        )


def test_the_first_directions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = script.fit(Colours(), correlated(20))
    monkeypatch.setattr(script, "KEPT", 3)
    few, _ = script.fit(Colours(), correlated(20))
    for projection, all_of_it in zip(few.values(), whole.values(), strict=True):
        assert projection.directions.shape == (8, 3)
        np.testing.assert_array_equal(projection.directions, all_of_it.directions[:, :3])


def test_one_command_fits_a_real_backbone(
    otb_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / f"edge-small{HEAD}"
    arguments = ["--model", "edge-small", "--data", str(otb_folder), "--photos", str(photos), "--output", str(output)]
    assert script.main(arguments) == 0
    crops = 4 + 4 + 4 + 7  # every third of 12 frames, the hidden one is not among them; the pictures
    side = ClosedFormConfig().input_side
    assert f"from {crops * (side // 16) ** 2} cells" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    backbone = load_backbone(PACKAGED / "edge-small.onnx", EngineOptions(taps=PURPOSES, height=side, width=side))
    head = load_head(output, backbone.info)
    np.testing.assert_array_equal(head.presence, script.UNCALIBRATED)

    random = np.random.default_rng(0)
    sources = script.target_crops(otb_folder, side, 3, random), script.photo_crops(photos, side, random)
    features = [backbone(crop) for crop in chain(*sources)]
    for index, tap in enumerate(backbone.info.taps):
        projection = head.projections[tap.name]
        flat = np.concatenate([maps[index].reshape(-1, tap.channels) for maps in features]).astype(float)
        direct = fit_projection(flat.mean(axis=0), np.cov(flat.T, bias=True), script.KEPT)
        # Directions of nearly the same eigenvalue may turn into one another; the map of likeness they make stays.
        ours, theirs = (p.directions.astype(float) @ p.directions.T for p in (projection, direct))
        assert np.abs(ours - theirs).max() < 0.01 * np.abs(theirs).max()
        np.testing.assert_allclose(projection.offset, flat.mean(axis=0) @ projection.directions, rtol=0.02, atol=0.02)

    first = output.read_bytes()
    assert script.main(arguments) == 0
    assert output.read_bytes() == first
    other = restated(tmp_path / "m.onnx", '"fingerprint": "704cbc73', '"fingerprint": "12345678')
    with pytest.raises(ModelError, match="belongs to edge-small"):
        load_head(output, load_backbone(other, EngineOptions(taps=PURPOSES)).info)


def test_crops_show_targets_as_the_tracker_sees_them(otb_folder: Path) -> None:
    """The target's own place in each crop: near the middle, its size one part in roi_scale of the side."""
    found = list(script.target_crops(otb_folder, 64, 5, np.random.default_rng(1)))
    # Frames 1, 6 and 11 of three tasks; the second target of Beta is hidden in frame 6.
    assert len(found) == 3 + 3 + 2
    size = 64 / ClosedFormConfig().roi_scale
    for patch in found:
        assert patch.shape == (64, 64, 3)
        red = patch[..., 2].astype(float) - patch[..., :2].mean(axis=2) > 40  # the disc is the reddest thing there
        ys, xs = np.nonzero(red)
        assert abs(xs.mean() - 32) < 20
        assert abs(ys.mean() - 32) < 20
        assert 0.4 * size < np.sqrt(red.sum() * 4 / np.pi) < 1.6 * size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no picture at all"),
        (["--photos", "nowhere"], "no picture under nowhere"),
        (["--data", "nowhere"], "no folder at nowhere"),
        (["--model", "vgg16"], "vgg16"),
        (["--model", "m.onnx"], "localisation"),
        (["--output", "none/b.safetensors"], "no folder none"),
        (["--output", "head.onnx"], ".safetensors file"),
        (["--photos", "broken"], "not an image"),
    ],
)
def test_what_cannot_end_well_is_one_line(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    restated(tmp_path / "m.onnx", '"localisation"', '"selection"')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no picture")
    assert script.main(["--model", "edge-small", "--output", "b.safetensors", *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("fit_head: ")
    assert message in error
    assert not list(tmp_path.glob("b.npz*"))
