"""Weight networks as ONNX: the same weights as in NumPy, through the command that users type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="conversion needs onnx (extra 'convert')")
from converters import weight_network
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.companion import Owner
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ModelError
from edge_tracker.fmst.weight_files import read_weight_network
from tests.fmst.test_weight_network import network

OWNER = Owner("m", "0" * 64)


def arguments(weights: Path, output: Path) -> list[str]:
    return ["--model", "weight-network", "--weights", str(weights), "--output", str(output)]


@pytest.mark.parametrize("name", ["mobilenetv3-small", "mobilenetv3-large-minimalistic"])
def test_onnx_equals_numpy(name: str, tmp_path: Path) -> None:
    output, file = tmp_path / "net.onnx", PACKAGED / f"{name}.weights.safetensors"
    assert weight_network.main(arguments(file, output)) == 0
    net, owner = read_weight_network(file)
    assert owner.model == name
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    scores, first = np.random.default_rng(7).normal(5, 20, (2, net.channels)).astype(np.float32)
    found = session.run(["positive", "negative"], {"inputs": weight_network.graph_inputs(net, scores, first)})
    for f, expected in zip(found, net(scores, first), strict=True):
        np.testing.assert_allclose(f, expected, atol=1e-5)


@pytest.mark.parametrize("base", ["none", "top"])
@pytest.mark.parametrize("form", ["dense", "shared"])
def test_every_form_passes_its_own_check(form: str, base: str) -> None:
    net = network(form, base)
    assert weight_network.check_against_numpy(weight_network.to_onnx(net, OWNER), net) <= 1e-5


def test_a_wrong_graph_is_caught() -> None:
    proto = weight_network.to_onnx(network("shared", "top"), OWNER)
    with pytest.raises(ModelError, match="differs from NumPy"):
        weight_network.check_against_numpy(proto, network("shared", "none"))


@pytest.mark.parametrize("kind", ["no file", "no network", "no folder"])
def test_a_bad_command_is_one_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, output = PACKAGED / "mobilenetv3-small.weights.safetensors", tmp_path / "net.onnx"
    if kind == "no file":
        weights = tmp_path / "nothing.safetensors"
    elif kind == "no network":
        weights = PACKAGED / "edge-small.onnx"
    else:
        output = tmp_path / "nowhere" / "net.onnx"
    assert weight_network.main(arguments(weights, output)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("to_onnx: ")
    assert "\n" not in error


def test_to_onnx_hands_over() -> None:
    assert weight_network.asked_for(["--weights", "x", "--model", "weight-network"])
    assert weight_network.asked_for(["--model=weight-network"])
    assert not weight_network.asked_for(["--model", "mobilenetv3-small"])


def test_the_converters_command_knows_it(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="to_onnx.py needs torch (extra 'convert')")
    from converters.to_onnx import main

    output = tmp_path / "net.onnx"
    assert main(arguments(PACKAGED / "mobilenetv3-small.weights.safetensors", output)) == 0
    assert output.is_file()
