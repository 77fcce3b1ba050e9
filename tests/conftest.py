"""What several tests need: the synthetic clip, the packaged backbone, and ../shared where it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.boxes import Box
from edge_tracker.methods import prepare
from edge_tracker.video.synthetic import WHOLE, SyntheticClip
from tests.footage import Bench

# A crowded or emulated machine takes its time with a first example; tests of speed say so themselves.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
ROOT = Path(__file__).resolve().parents[1]


class Clip:
    """A rendered synthetic clip, in memory."""

    def __init__(self, frames: int = 120) -> None:
        pairs = list(SyntheticClip(frames=frames))
        self.images: list[NDArray[np.uint8]] = [image for image, _ in pairs]
        self.boxes: NDArray[np.float64] = np.array([box for _, box in pairs])
        self.first_box: Box = pairs[0][1]

    @property
    def init(self) -> str:
        return ",".join(str(v) for v in self.first_box)


@pytest.fixture(scope="session")
def clip() -> Clip:
    return Clip()


@pytest.fixture(scope="session")
def whole_clip() -> Clip:
    """With all that happens: a panel hides the target, then it leaves and comes back."""
    return Clip(WHOLE)


@pytest.fixture(scope="session")
def video(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 30 frames of the clip as .mp4."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, clip.images[:30])
    return path


@pytest.fixture(scope="session")
def base_folder(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 60 frames of the clip as 0000.png, 0001.png, ..."""
    folder = tmp_path_factory.mktemp("base")
    for index, image in enumerate(clip.images[:60]):
        cv2.imwrite(str(folder / f"{index:04d}.png"), image)
    return folder


@pytest.fixture
def bench(clip: Clip, base_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, clip, base_folder, capfd)


def write_video(path: Path, images: list[NDArray[np.uint8]], codec: str = "mp4v") -> None:
    size = (images[0].shape[1], images[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, size)
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()


def write_no_video(path: Path, kind: str) -> None:
    """Put something at `path` that is no source of frames, or ("missing") nothing."""
    if kind == "text":
        path.write_text("this is a text, not a video\n" * 500)
    elif kind == "empty file":
        path.touch()
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(100_000))
    elif kind == "cut before its index":
        write_video(path, list(Clip(10).images))
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "empty folder":
        path.mkdir()
    elif kind != "missing":
        raise ValueError(kind)


@pytest.fixture(scope="session")
def otb_folder(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short sequences in OTB's layout; the second has two targets and a hidden row."""
    root = tmp_path_factory.mktemp("otb")
    truth = clip.boxes[:12] + np.array([1, 1, 0, 0])
    for name in ("Alpha", "Beta"):
        (root / name / "img").mkdir(parents=True)
        for number, image in enumerate(clip.images[:12], start=1):
            cv2.imwrite(str(root / name / "img" / f"{number:04d}.png"), image)
    np.savetxt(root / "Alpha" / "groundtruth_rect.txt", truth, fmt="%.3f", delimiter=",")
    np.savetxt(root / "Beta" / "groundtruth_rect.1.txt", truth, fmt="%.3f", delimiter="\t")
    hidden = truth.copy()
    hidden[5] = np.nan
    np.savetxt(root / "Beta" / "groundtruth_rect.2.txt", hidden, fmt="%.3f", delimiter=" ")
    return root


@pytest.fixture(scope="session")
def edge_small() -> OnnxRuntimeBackbone:
    """The packaged trunk, with its tap for selection alone."""
    backbone = load_backbone(PACKAGED / "edge-small.onnx")
    assert isinstance(backbone, OnnxRuntimeBackbone)
    return backbone


def restated(path: Path, old: str, new: str) -> Path:
    """Write the packaged model to `path`, with `new` for `old` in what it states of itself; its graph stays."""
    data = (PACKAGED / "edge-small.onnx").read_bytes()
    assert len(new) <= len(old), "the file states the length of its text"
    assert data.count(old.encode()) == 1
    path.write_bytes(data.replace(old.encode(), new.ljust(len(old)).encode()))
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's folder of data and weights, which is no part of the project."""
    path = Path(os.environ.get("EDGE_TRACKER_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no sequences and weights at {path} (EDGE_TRACKER_SHARED)")
    return path


@pytest.fixture(scope="session")
def _measured(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What "auto" remembers of a machine on which `accurate` is fast enough: how busy this one is must not decide."""
    cache = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGE_TRACKER_MODELS", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        prepare("auto")
    known = json.loads((cache / "edge-tracker" / "auto.json").read_text())
    return json.dumps({key: ("accurate", when) for key, (_, when) in known.items()})


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(
    _measured: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the user has downloaded, or measured, must not decide what a test sees."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "edge-tracker").mkdir()
    (cache / "edge-tracker" / "auto.json").write_text(_measured)
    monkeypatch.delenv("EDGE_TRACKER_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def spoiled(kind: str, path: Path, whole: Path) -> bool:
    """Put at `path` what has become of the file `whole`; False for a kind that is not known here."""
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(1000))
    elif kind == "cut":
        path.write_bytes(whole.read_bytes()[:-50])
    return kind in ("missing", "folder", "empty", "noise", "cut")
