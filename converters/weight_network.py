"""A weight network as ONNX: `python converters/to_onnx.py --model weight-network --weights FILE --output FILE`.

The graph is the network proper, without the sorting and scaling before it: "inputs" is what
`graph_inputs` gives, outputs are "positive" and "negative", (C,) each, in [0, 6].
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converters.files import OPSET, exit_code, write_together
from edge_tracker.backbones.companion import Owner
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ModelError
from edge_tracker.fmst.weight_files import read_weight_network, weight_network_metadata
from edge_tracker.fmst.weight_network import HIGHEST_WEIGHT, WeightNetwork

MODEL = "weight-network"
TOLERANCE = 1e-5  # of ONNX against NumPy, of the largest weight


def asked_for(argv: Sequence[str] | None) -> bool:
    """True where a converter's command line names a weight network."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    return parser.parse_known_args(argv)[0].model == MODEL


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; returns the exit code."""
    parser = argparse.ArgumentParser(description="Convert a weight network to ONNX.")
    parser.add_argument("--model", required=True, choices=[MODEL])
    parser.add_argument("--weights", type=Path, required=True, help="the .safetensors file")
    parser.add_argument("--output", type=Path, required=True, help="the .onnx file to write")
    args = parser.parse_args(argv)
    return exit_code("to_onnx", lambda: convert(args.weights, args.output))


def convert(weights: Path, output: Path) -> None:
    """Convert the network in the file `weights`. Raises ModelError."""
    graph = to_onnx(*read_weight_network(weights))
    content = graph.SerializeToString(deterministic=True)
    write_together({output: content})
    print(f"{output}: {len(content)} bytes")


def to_onnx(network: WeightNetwork, owner: Owner) -> onnx.ModelProto:
    """The graph of `network`, trained on the backbone `owner`, checked against NumPy. Raises ModelError."""
    channels, columns = network.channels, 3 + len(network.layers)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {"low": np.float32(0), "high": np.float32(HIGHEST_WEIGHT)}

    def mlp(part: str, value: str) -> str:
        for number, arrays in enumerate(network.stack(part)):
            if number:
                nodes.append(helper.make_node("Relu", [value], [f"{part}.{number}.in"]))
                value = f"{part}.{number}.in"
            names = [f"{part}.{number}.weight", f"{part}.{number}.bias"]
            constants.update(zip(names, arrays, strict=True))
            nodes.append(helper.make_node("Gemm", [value, *names], [f"{part}.{number}.out"]))
            value = f"{part}.{number}.out"
        return value

    if network.form == "dense":  # inputs (2, C): scaled scores, and 1 where Eq. 5 selects
        constants |= {"row0": np.array([0]), "row1": np.array([1])}
        nodes.append(helper.make_node("Gather", ["inputs", "row0"], ["scores"], axis=0))
        nodes.append(helper.make_node("Gather", ["inputs", "row1"], ["selected"], axis=0))
        nodes.append(helper.make_node("Neg", ["scores"], ["opposite"]))
        raw = {"positive": mlp("positive", "scores"), "negative": mlp("negative", "opposite")}
        shape = (2, channels)
    else:  # inputs (C, 3 + layers)
        both = mlp("shared", "inputs")
        constants |= {"column0": np.array([0]), "column1": np.array([1])}
        for name, column in (("positive", "column0"), ("negative", "column1")):
            nodes.append(helper.make_node("Gather", [both, column], [f"{name}.raw"], axis=1))
        nodes.append(helper.make_node("Gather", ["inputs", "column1"], ["selected"], axis=1))
        raw = {"positive": "positive.raw", "negative": "negative.raw"}
        shape = (channels, columns)
    if network.base == "top":
        nodes.append(helper.make_node("Add", [raw["positive"], "selected"], ["positive.sum"]))
        raw["positive"] = "positive.sum"
    constants["flat"] = np.array([channels])
    for name, value in raw.items():
        nodes.append(helper.make_node("Clip", [value, "low", "high"], [f"{name}.clipped"]))
        nodes.append(helper.make_node("Reshape", [f"{name}.clipped", "flat"], [name]))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (channels,)) for name in raw],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edge-tracker")
    proto.ir_version = 10  # what ONNX Runtime 1.18 reads
    helper.set_model_props(proto, weight_network_metadata(network, owner))
    onnx.checker.check_model(proto, full_check=True)
    check_against_numpy(proto, network)
    return proto


def graph_inputs(
    network: WeightNetwork, scores: NDArray[np.float32], first: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What the graph takes: dense (2, C), shared (C, 3 + layers), a channel a row."""
    inputs = network.inputs(scores, first)
    return inputs if network.form == "dense" else np.ascontiguousarray(inputs.T)


def check_against_numpy(proto: onnx.ModelProto, network: WeightNetwork) -> float:
    """Largest difference of a weight, of the largest one, on random scores. Raises ModelError over TOLERANCE."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    error = 0.0
    for _ in range(4):
        scores, first = random.normal(0, 30, (2, network.channels)).astype(np.float32)
        found: list[NDArray[np.float32]] = session.run(
            ["positive", "negative"], {"inputs": graph_inputs(network, scores, first)}
        )
        expected = network(scores, first)
        largest = max(float(np.abs(e).max()) for e in expected)
        error = max(
            error, *(float(np.abs(f - e).max()) / max(largest, 1e-6) for f, e in zip(found, expected, strict=True))
        )
    if not error <= TOLERANCE:
        raise ModelError(f"the ONNX model differs from NumPy by {error:.1e} of its range, over {TOLERANCE:.0e}")
    return error
