"""Weights out of an ONNX file: the network that went in comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("onnxscript", reason="conversion needs onnxscript (extra 'convert-onnx')")
pytest.importorskip("torch", reason="conversion needs torch (extra 'convert-onnx')")

import torch

from converters.fingerprint import of_trunk
from converters.onnx_weights import read_weights
from converters.plan import Network
from converters.rewrites import normalised
from converters.to_onnx import export, main, store_as_fp16
from converters.trunks import TRUNKS, load_trunk
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.errors import ModelError


@pytest.mark.parametrize("name", ["edge-small", "edge-large"])
def test_a_packaged_model_gives_the_trunk_it_was_made_from(name: str) -> None:
    path = PACKAGED / f"{name}.onnx"
    card = ModelCard.read(path)
    assert card is not None
    assert of_trunk(load_trunk(name, path), TRUNKS[name]) == card.fingerprint


@pytest.mark.parametrize("name", ["mobilenetv3-small", "mobilenetv3-large-minimalistic"])
def test_an_exported_trunk_answers_as_before(name: str, tmp_path: Path) -> None:
    trunk, spec = load_trunk(name, None), TRUNKS[name]
    path = tmp_path / "m.onnx"
    onnx.save(export(Network(name, trunk, spec)), str(path))
    again = load_trunk(name, path)
    crops = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    with torch.no_grad():
        for a, b in zip(trunk(normalised(crops, spec)), again(normalised(crops, spec)), strict=True):
            assert float((a - b).abs().max()) <= 1e-4 * float(a.abs().max())


def test_without_weights_the_converter_takes_the_packaged_ones(tmp_path: Path) -> None:
    output = tmp_path / "edge-small.onnx"
    assert main(["--model", "edge-small", "--precision", "fp16", "--output", str(output)]) == 0
    found, packaged = ModelCard.read(output), ModelCard.read(PACKAGED / "edge-small.onnx")
    assert found is not None
    assert packaged is not None
    assert found.fingerprint == packaged.fingerprint
    assert found.weights.startswith("edge-small.onnx, sha256 ")


def test_a_model_that_is_not_here_needs_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "vgg16", "--output", str(tmp_path / "v.onnx")]) == 2
    assert "give --weights FILE" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["text", "cut", "integers", "another graph"])
def test_a_file_without_float_weights_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    packaged = (PACKAGED / "edge-small.onnx").read_bytes()
    if kind == "text":
        path.write_text("no model\n" * 100)
    elif kind == "cut":
        path.write_bytes(packaged[: len(packaged) // 2])
    else:
        model = onnx.load(str(PACKAGED / "edge-small.onnx"))
        for tensor in model.graph.initializer:
            if kind == "integers" and tensor.name.startswith("trunk."):
                tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.int8), tensor.name))
        for node in model.graph.node:
            if kind == "another graph" and node.op_type == "Conv":
                node.input[1] = "x" + node.input[1]
        path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"w\.onnx"):
        read_weights(path, load_trunk("edge-small", None).state_dict(), TRUNKS["edge-small"].std)


def test_weights_of_another_trunk_are_refused() -> None:
    with pytest.raises(ModelError, match="does not fit edge-large"):
        load_trunk("edge-large", PACKAGED / "edge-small.onnx")


def test_sixteen_bits_are_read_as_well(tmp_path: Path) -> None:
    trunk = load_trunk("mobilenetv3-small", None)
    model = export(Network("mobilenetv3-small", trunk, TRUNKS["mobilenetv3-small"]))
    store_as_fp16(model)
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    again = load_trunk("mobilenetv3-small", path)
    spec = TRUNKS["mobilenetv3-small"]
    assert of_trunk(again, spec) == of_trunk(trunk, spec)
