"""Files of weight networks: written is as read, hostile files are refused, and each keeps to its backbone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_tracker import FmstConfig, Tracker
from edge_tracker.backbones.base import METADATA_KEY
from edge_tracker.backbones.catalogue import PACKAGED, WEIGHT_NETWORK, find_model
from edge_tracker.backbones.companion import Owner
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.cli import main
from edge_tracker.errors import ConfigError, ModelError, OutputError
from edge_tracker.fmst.weight_files import (
    load_weight_network,
    read_weight_network,
    save_weight_network,
    selection_layers,
    weight_network_metadata,
)
from tests.conftest import Clip, restated, spoiled
from tests.fmst.test_weight_network import network


def owner_of(backbone: OnnxRuntimeBackbone) -> Owner:
    return Owner(backbone.info.model, backbone.info.fingerprint)


@pytest.fixture
def file(tmp_path: Path, edge_small: OnnxRuntimeBackbone) -> Path:
    path = tmp_path / "net.safetensors"
    save_weight_network(path, network("shared", layers=selection_layers(edge_small.info)), owner_of(edge_small))
    return path


def test_what_was_written_is_read_back(file: Path, edge_small: OnnxRuntimeBackbone) -> None:
    net, expected = (
        load_weight_network(file, edge_small.info),
        network("shared", layers=selection_layers(edge_small.info)),
    )
    assert (net.form, net.base, net.fraction, net.alpha, net.layers) == ("shared", "top", 0.25, 0.5, expected.layers)
    for name, tensor in expected.tensors.items():
        np.testing.assert_allclose(net.tensors[name], tensor, rtol=1e-3, atol=1e-6)


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path, edge_small: OnnxRuntimeBackbone) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        save_weight_network(tmp_path / "none" / "net.safetensors", network("shared"), owner_of(edge_small))


def test_another_backbone_is_refused(file: Path, edge_small: OnnxRuntimeBackbone) -> None:
    with pytest.raises(ModelError, match="belongs to edge-small .*, not to the mobilenetv3-small"):
        load_weight_network(file, replace(edge_small.info, model="mobilenetv3-small"))
    tap = edge_small.info.taps[0]
    other = replace(edge_small.info, taps=(replace(tap, layers=tap.layers[:-1]),))
    with pytest.raises(ModelError, match="layers of .* channels, not of"):
        load_weight_network(file, other)


@pytest.mark.parametrize(
    "kind",
    ["missing", "folder", "empty", "noise", "cut", "no metadata", "bad json", "list", "no form", "type", "shape"],
)
def test_a_bad_file_is_one_clear_error(kind: str, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    net, owner = read_weight_network(file)
    metadata = weight_network_metadata(net, owner)
    tensors = dict(net.tensors)
    if spoiled(kind, path, file):
        pass
    elif kind == "no metadata":
        save_file(tensors, path)
    elif kind == "bad json":
        save_file(tensors, path, {METADATA_KEY: "{"})
    elif kind == "list":
        save_file(tensors, path, {METADATA_KEY: "[]"})
    elif kind == "no form":
        stated = json.loads(metadata[METADATA_KEY])
        del stated["form"]
        save_file(tensors, path, {METADATA_KEY: json.dumps(stated)})
    elif kind == "type":
        save_file({name: tensor.astype(np.int32) for name, tensor in tensors.items()}, path, metadata)
    elif kind == "shape":
        tensors["shared.0.weight"] = tensors["shared.0.weight"][:-1].copy()
        save_file(tensors, path, metadata)
    with pytest.raises(ModelError) as caught:
        read_weight_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as out:
        out.truncate(100 << 20)
    with pytest.raises(ModelError, match="more than any weight network"):
        read_weight_network(path)


def test_the_catalogue_finds_the_network_of_a_model(
    file: Path, tmp_path: Path, edge_small: OnnxRuntimeBackbone
) -> None:
    placed = file.rename(tmp_path / "edge-small.weights.safetensors")
    model = find_model("edge-small", tmp_path)
    assert model.companion(edge_small.info, WEIGHT_NETWORK) == placed
    with pytest.raises(ModelError, match=r"'vgg16' has no weight network.*edge-small.*train_weight_network"):
        model.companion(replace(edge_small.info, model="vgg16"), WEIGHT_NETWORK)


def test_packaged_networks_are_whole_and_bound() -> None:
    names = {path.name for path in PACKAGED.glob(f"*{WEIGHT_NETWORK}")}
    assert {"mobilenetv3-small.weights.safetensors", "mobilenetv3-large-minimalistic.weights.safetensors"} <= names
    for name in names:
        net, owner = read_weight_network(PACKAGED / name)
        assert name == f"{owner.model}.weights.safetensors"
        assert (PACKAGED / name).stat().st_size < 5_000_000
        weights = net(*np.random.default_rng(0).normal(0, 30, (2, net.channels)).astype(np.float32))
        assert all(np.isfinite(w).all() and w.min() >= 0 and w.max() <= 6 for w in weights)


def test_the_tracker_takes_a_network(file: Path, clip: Clip) -> None:
    boxes = []
    for threads in (1, 2):
        tracker = Tracker("fmst-net", "edge-small", weight_network=file, threads=threads)
        tracker.init(clip.images[0], clip.first_box)
        boxes.append([tracker.update(image).box for image in clip.images[1:10]])
    assert boxes[0] == boxes[1]


def test_the_tracker_refuses_what_makes_no_sense(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only fmst-net takes a weight network"):
        Tracker("fmst", "edge-small", weight_network=file)
    with pytest.raises(ModelError, match="'another' has no weight network"):
        Tracker("fmst-net", restated(tmp_path / "m.onnx", '"edge-small"', '"another"'))
    with pytest.raises(ConfigError, match="maps S"):
        Tracker("fmst-net", "edge-small", weight_network=file, config=FmstConfig(maps="C"))


def test_the_command_takes_a_network_and_alpha(
    file: Path, video: Path, clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--source", str(video), "--init", clip.init, "--max-frames", "6", "--quiet", "--output", "-"]
    arguments += ["--tracker", "fmst-net", "--model", "edge-small"]
    printed = []
    for extra in ([], ["--set", "alpha=0.5"], ["--set", "alpha=0"]):
        assert main([*arguments, "--weight-network", str(file), *extra]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]
    assert main([*arguments, "--weight-network", str(video)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("edge-track: cannot read the weight network")
    assert "\n" not in error
