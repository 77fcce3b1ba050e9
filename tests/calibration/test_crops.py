"""Calibration crops: repeatable, different from each other, parted, and nothing but what `save` wrote loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from calibration.__main__ import main
from calibration.crops import Crops, collect, contact_sheet
from calibration.footage import Footage, find_footage
from edge_tracker.backbones.base import METADATA_KEY
from edge_tracker.errors import DatasetError
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.roi import crop, window_around


def textures(folder: Path, count: int, seed: int = 0, size: int = 160) -> Path:
    """A folder of images that share nothing."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        small = generator.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.png"), cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> list[Footage]:
    root = tmp_path_factory.mktemp("footage")
    return find_footage([str(textures(root / f"shot{n}", 12, seed=n)) for n in range(5)])


def test_the_same_seed_gives_the_same_crops(footage: list[Footage]) -> None:
    first, again, other = (collect(footage, 20, 32, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.crops, again.crops)
    np.testing.assert_array_equal(first.held_out, again.held_out)
    assert not np.array_equal(first.crops[:5], other.crops[:5])


def test_whole_shots_are_held_out(footage: list[Footage]) -> None:
    crops = collect(footage, 40, 32)
    assert len(crops.unseen) == 10
    assert not set(crops.source[crops.held_out]) & set(crops.source[~crops.held_out])


def test_of_one_shot_the_end_is_held_out(tmp_path: Path) -> None:
    """Images grow brighter, so that brightness tells the frame."""
    folder = textures(tmp_path / "shot", 40)
    for number, path in enumerate(sorted(folder.iterdir())):
        image = cv2.imread(str(path))
        assert image is not None
        cv2.imwrite(str(path), (image // 8 + 5 * number).astype(np.uint8))
    crops = collect(find_footage([str(folder)]), 30, 32)
    assert crops.calibration.mean((1, 2, 3)).max() < crops.unseen.mean((1, 2, 3)).min() + 10


def test_repeated_pictures_give_one_crop_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.crops.POSITION_JITTER", 0.0)
    monkeypatch.setattr("calibration.crops.SCALE_JITTER", 0.0)
    folder = textures(tmp_path / "still", 5)
    for picture in list(folder.iterdir()):
        noisy = read(picture).astype(np.int16) + np.random.default_rng(0).integers(-3, 4, (160, 160, 3))
        for number in range(20):
            cv2.imwrite(str(folder / f"{picture.stem}_{number}.png"), noisy.clip(0, 255).astype(np.uint8))
    boxes = np.tile([60.0, 60.0, 40.0, 40.0], (105, 1))
    assert len(collect([Footage("still", str(folder), boxes)], 100, 64, held_out=0.5).crops) == 5


def test_crops_are_the_windows_a_tracker_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.crops.POSITION_JITTER", 0.0)
    monkeypatch.setattr("calibration.crops.SCALE_JITTER", 0.0)
    folder = textures(tmp_path / "shot", 4)
    boxes = np.tile([120.0, 30.0, 30.0, 50.0], (4, 1))  # its window reaches over the border
    crops = collect([Footage("shot", str(folder), boxes)], 4, 48)
    expected = [
        crop(read(path), window_around((120.0, 30.0, 30.0, 50.0), FmstConfig().roi_scale), 48)
        for path in sorted(folder.iterdir())
    ]
    assert all(any(np.array_equal(found, e) for e in expected) for found in crops.crops)


def read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


def test_plain_pictures_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "black"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DatasetError, match="too few"):
        collect(find_footage([str(folder)]), 4, 32)


def test_they_come_back_as_they_were_saved(footage: list[Footage], tmp_path: Path) -> None:
    crops = collect(footage, 20, 32)
    crops.save(tmp_path / "crops.safetensors")
    again = Crops.load(tmp_path / "crops.safetensors")
    np.testing.assert_array_equal(crops.crops, again.crops)
    np.testing.assert_array_equal(crops.held_out, again.held_out)
    np.testing.assert_array_equal(crops.source, again.source)
    assert [p.name for p in tmp_path.iterdir()] == ["crops.safetensors"]


GOOD = {"crops": np.zeros((4, 8, 8, 3), np.uint8), "held_out": np.array([True, False, False, False])}
BAD: dict[str, dict[str, NDArray[np.generic]]] = {
    "float crops": {"crops": np.zeros((4, 8, 8, 3), np.float32)},
    "oblong crops": {"crops": np.zeros((4, 8, 9, 3), np.uint8)},
    "flat crops": {"crops": np.zeros(4, np.uint8)},
    "a scalar": {"crops": np.zeros((), np.uint8)},
    "too few marks": {"held_out": np.array([True, False])},
    "nothing held out": {"held_out": np.zeros(4, np.bool_)},
    "all held out": {"held_out": np.ones(4, np.bool_)},
    "no crop": {"crops": np.zeros((0, 8, 8, 3), np.uint8), "held_out": np.zeros(0, np.bool_)},
}
NAMES = {
    "names that are none": "[1, 2, 3, 4]",
    "too few names": '["a"]',
    "a huge name": json.dumps(["a" * 100_000, "b", "c", "d"]),
    "no JSON": "[",
    "nested names": "[" * 100_000,
}


@pytest.mark.parametrize("kind", [*BAD, *NAMES, "missing array", "text", "missing", "cut", "no names"])
def test_other_files_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "crops.safetensors"
    names = {METADATA_KEY: NAMES.get(kind, '["a", "a", "a", "a"]')}
    if kind == "text":
        path.write_text("no archive")
    elif kind == "missing array":
        save_file({"crops": GOOD["crops"]}, path, names)
    elif kind == "cut":
        save_file(GOOD, path, names)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "no names":
        save_file(GOOD, path)
    elif kind != "missing":
        save_file(GOOD | BAD.get(kind, {}), path, names)
    with pytest.raises(DatasetError, match=r"crops\.safetensors") as caught:
        Crops.load(path)
    assert "\n" not in str(caught.value)


def test_the_contact_sheet_overwrites_no_frame(
    base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(base_folder, tmp_path / "frames")
    before = {path: path.read_bytes() for path in (tmp_path / "frames").iterdir()}
    output = tmp_path / "frames" / "0003.safetensors"
    assert main(["--frames", str(tmp_path / "frames"), "--output", str(output)]) == 2
    assert "among the frames" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "frames").iterdir()} == before


def test_the_command_writes_crops_and_a_contact_sheet(
    footage: list[Footage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [str(shot.spec) for shot in footage]
    options = ["--output", str(tmp_path / "c.safetensors"), "--count", "24", "--side", "32"]
    assert main(["--frames", *specs, *options]) == 0
    assert "18 crops to calibrate with, 6 held out, of 5 shots" in capsys.readouterr().out
    crops = Crops.load(tmp_path / "c.safetensors")
    sheet = cv2.imread(str(tmp_path / "c.png"))
    np.testing.assert_array_equal(sheet, contact_sheet(crops))
    assert sheet is not None
    assert sheet.shape == (2 * 64, 20 * 64, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "none/c.safetensors"], "--output"),
        (["--output", "c.txt"], "--output"),
        (["--output", "c.safetensors", "--side", "3"], "--side"),
        (["--output", "c.safetensors", "--held-out", "1"], "held-out"),
        (["--output", "c.safetensors", "--seed", "-1"], "seed"),
    ],
)
def test_bad_settings_are_one_line(
    options: list[str], message: str, footage: list[Footage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(tmp_path / o) if o.endswith((".safetensors", ".txt")) else o for o in options]
    assert main(["--frames", str(footage[0].spec), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
