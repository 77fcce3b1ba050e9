"""Rendered scenes for those that train on them, and the packaged model that looks at them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.closed_form.head import Head, load_head
from edge_tracker.evaluation.boxes_file import write_boxes
from tests.conftest import Clip

SIDE = 192
MODEL = PACKAGED / "edge-small.onnx"
HEAD = PACKAGED / "edge-small.head.safetensors"


def shape_on_plain_ground(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a textured object in its middle, and its mask."""
    random = np.random.default_rng(seed)
    image = np.full((160, 200, 3), 60, np.uint8) + random.integers(0, 12, (160, 200, 3), dtype=np.uint8)
    mask = np.zeros((160, 200), np.uint8)
    where = ((100, 80), (45, 30), 20, 0, 360)
    cv2.ellipse(image, *where, (40, 200 - 20 * seed, 230), -1)
    cv2.rectangle(image, (80, 70), (110, 90), (200, 40, 60), -1)
    cv2.ellipse(mask, *where, 1, -1)
    return image, mask


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/, masks/ and videos/ of a few pictures each."""
    root = tmp_path_factory.mktemp("pictures")
    for folder in ("photos", "masks", "videos/DAVIS_one"):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        image, mask = shape_on_plain_ground(number)
        cv2.imwrite(str(root / "photos" / f"{number}.png"), image)
        for folder, name in (("masks", f"shape_{number}"), ("videos/DAVIS_one", f"{number:05d}")):
            cv2.imwrite(str(root / folder / f"{name}.jpg"), image)
            cv2.imwrite(str(root / folder / f"{name}.png"), mask)
    return root


@pytest.fixture(scope="session")
def rendered(otb_folder: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What scripts/render_scenes.py makes of them."""
    import render_scenes

    folder = tmp_path_factory.mktemp("rendered")
    options = ["--data", str(otb_folder), "--photos", str(pictures / "photos"), "--masks", str(pictures / "masks")]
    options += ["--masks-video", str(pictures / "videos"), "--output", str(folder), "--limit", "600"]
    assert render_scenes.main(options) == 0
    return folder


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone(MODEL, EngineOptions(taps=PURPOSES, height=SIDE, width=SIDE))


@pytest.fixture(scope="session")
def head(backbone: Backbone) -> Head:
    return load_head(HEAD, backbone.info)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], AbstractContextManager[None]]:
    """While it lasts, a script is interrupted as soon as it has written a checkpoint."""

    @contextmanager
    def interrupting(script: ModuleType) -> Iterator[None]:
        real = script.write_checkpoint

        def write(*arguments: object) -> None:
            real(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(script, "write_checkpoint", write)
            yield

    return interrupting


@pytest.fixture(scope="session")
def footage(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences with boxes, one with masks."""
    folder = tmp_path_factory.mktemp("footage")
    for number, name in enumerate(("One", "Two")):
        images = folder / "boxes" / name / "img"
        images.mkdir(parents=True)
        for k in range(4):
            cv2.imwrite(str(images / f"{k:04d}.png"), clip.images[20 * number + 4 * k])
        write_boxes(images.parent / "groundtruth_rect.txt", clip.boxes[20 * number : 20 * number + 16 : 4])
    masks = folder / "masks" / "Three"
    masks.mkdir(parents=True)
    for k in range(3):
        cv2.imwrite(str(masks / f"{k:05d}.jpg"), clip.images[60 + 4 * k])
        mask = np.zeros(clip.images[0].shape[:2], np.uint8)
        x, y, w, h = (round(v) for v in clip.boxes[60 + 4 * k])
        mask[y : y + h, x : x + w] = 255 if k < 2 else 0
        cv2.imwrite(str(masks / f"{k:05d}.png"), mask)
    return folder


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    """Threads and denormal numbers, which the training scripts set for their process."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
