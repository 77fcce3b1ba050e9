"""Head files: written is as read; what is broken, of another backbone or of another version is refused."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from edge_tracker.backbones.base import METADATA_KEY, PURPOSES, BackboneInfo, EngineOptions, Layer, Projection, Tap
from edge_tracker.backbones.catalogue import HEAD, PACKAGED
from edge_tracker.backbones.companion import Owner, stated_metadata
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.closed_form.head import WHAT, Head, load_head, save_head
from edge_tracker.closed_form.likeness import WEIGHTS
from edge_tracker.errors import ModelError
from tests.conftest import spoiled

TRUNK, OTHER = "1" * 64, "2" * 64


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def info(channels: int = 6, model: str = "m", fingerprint: str = TRUNK) -> BackboneInfo:
    return BackboneInfo(model, 224, 224, (Tap("stride16", 16, (Layer("a", channels),)),), fingerprint)


def a_head() -> Head:
    presence = np.random.default_rng(0).normal(size=(2, WEIGHTS))
    return Head({"stride16": Projection(noise(6, 4), noise(4))}, presence)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / f"m{HEAD}"
    save_head(path, info(), a_head())
    return path


def test_what_was_written_is_read_back(file: Path) -> None:
    head = load_head(file, info())
    np.testing.assert_allclose(head.projections["stride16"].directions, noise(6, 4), atol=2e-3)
    np.testing.assert_array_equal(head.projections["stride16"].offset, noise(4))
    np.testing.assert_array_equal(head.presence, a_head().presence)
    assert head.refinement is None


def test_a_packaged_head_comes_back_bit_for_bit_with_its_refiner(tmp_path: Path) -> None:
    there = load_backbone(PACKAGED / "edge-small.onnx", EngineOptions(taps=PURPOSES)).info
    head = load_head(PACKAGED / f"edge-small{HEAD}", there)
    assert head.refinement is not None
    assert list(head.projections) == [tap.name for tap in there.taps]
    save_head(tmp_path / "again", there, head)
    assert (tmp_path / "again").read_bytes() == (PACKAGED / f"edge-small{HEAD}").read_bytes()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (info(model="other"), r"belongs to m \(111111111111\), not to the other"),
        (info(fingerprint=OTHER), r"belongs to m \(111111111111\), not to the m of other weights \(222222222222\)"),
        (info(7), "of 7 channels"),
        (replace(info(), taps=(Tap("stride8", 8, (Layer("a", 6),)),)), "no projection for the tap 'stride8'"),
    ],
)
def test_a_head_keeps_to_its_backbone(asked: BackboneInfo, message: str, file: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_head(file, asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "folder",
        "empty",
        "noise",
        "cut",
        "nan",
        "presence",
        "group",
        "refiner",
        "integers",
        "kind",
        "kindless",
        "list",
        "name",
        "huge",
    ],
)
def test_a_bad_file_is_one_clear_error(kind: str, file: Path, tmp_path: Path) -> None:
    path, tensors = tmp_path / "bad", load_file(file)
    if spoiled(kind, path, file):
        pass
    elif kind == "huge":  # a tensor that states more than the file has
        header = json.dumps({"presence.weights": {"dtype": "F64", "shape": [1 << 40], "data_offsets": [0, 8 << 40]}})
        path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    else:
        stated = {"kind": WHAT, "model": "m", "fingerprint": TRUNK}
        if kind == "nan":
            tensors["projection.stride16.offset"][0] = np.nan
        elif kind == "presence":
            tensors["presence.weights"] = tensors["presence.weights"][:1].copy()
        elif kind == "group":
            tensors["telepathy.weights"] = noise(3)
        elif kind == "refiner":
            tensors["refinement.key.weight"] = noise(3, 4)
        elif kind == "integers":
            tensors["presence.weights"] = tensors["presence.weights"].astype(np.int64)
        elif kind == "kind":
            stated["kind"] = "weight network"
        elif kind == "kindless":
            del stated["kind"]
        elif kind == "name":
            stated["fingerprint"] = "m"
        save_file(tensors, path, {METADATA_KEY: "[]" if kind == "list" else json.dumps(stated)})
    with pytest.raises(ModelError, match=str(path)) as caught:
        load_head(path, info())
    assert "\n" not in str(caught.value)


def test_a_file_of_another_version_says_which_part_it_does_not_know(file: Path, tmp_path: Path) -> None:
    tensors = {**load_file(file), "telepathy.weights": noise(3)}
    save_file(tensors, tmp_path / "m", stated_metadata(WHAT, Owner("m", TRUNK)))
    with pytest.raises(ModelError, match=r"holds 'telepathy\.weights', of which this version knows nothing"):
        load_head(tmp_path / "m", info())


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as out:
        out.truncate(17 << 20)
    with pytest.raises(ModelError, match="more than any head"):
        load_head(tmp_path / "large", info())
