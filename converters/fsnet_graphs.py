"""Write the ONNX graphs of FSNet (`edge_tracker/fsnet/graphs/`): what `fsnet.network.NumpyNetwork` computes, from ONNX
operators alone, so that it runs on any execution provider.

    python -m converters.fsnet_graphs [--output FOLDER]

No graph holds weights: they are inputs, and stay where the caller keeps them. All shapes are free. Max-RoIAlign is
GridSample and MaxPool: ONNX's RoiAlign takes, in its mode "max", the largest weighted corner instead of the largest
interpolated value (onnxruntime issue 6146).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.files import OPSET, exit_code
from edge_tracker.files import whole_file
from edge_tracker.fsnet.classifier import Layers
from edge_tracker.fsnet.roi_align import BINS, POINTS

FOLDER = Path(__file__).resolve().parents[1] / "edge_tracker" / "fsnet" / "graphs"
MOST_TAPS = 2
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
Shape = Sequence[str | int]


class Graph:
    """Collects the nodes of one graph."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def input(self, name: str, shape: Shape, kind: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, value: str, name: str, shape: Shape) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, FLOAT, list(shape)))

    def constant(self, *values: int) -> str:
        name = "_".join(["const", *(str(value).replace("-", "m") for value in values)])
        self.constants.setdefault(name, numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        result = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [result], **attributes))
        return result

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, list(self.constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        model.producer_name = "edge-tracker"
        onnx.checker.check_model(model, full_check=True)
        return model


def look() -> Graph:
    """Of all maps of a tap (1, C, H, W), the chosen ones, multiplied by the tap's gain."""
    g = Graph("fsnet_look")
    maps, channels = g.input("maps", (1, "C", "H", "W")), g.input("channels", ("k",), INT)
    chosen = g("Mul", g("Gather", maps, channels, axis=1), g.input("gain", ()))
    g.output(chosen, "chosen", (1, "k", "H", "W"))
    return g


def pool(taps: int) -> Graph:
    """Max-RoIAlign: maps (1, k, H, W) and points (1, 6 m, 6, 2) of each tap, x and y from -1 to 1 over the maps' outer
    edges -> rows (m, 9 sum k)."""
    g = Graph(f"fsnet_pool_{taps}")
    parts = []
    for tap in range(taps):
        maps = g.input(f"maps{tap}", (1, f"k{tap}", f"H{tap}", f"W{tap}"))
        points = g.input(f"points{tap}", (1, "rows", BINS * POINTS, 2))
        values = g("GridSample", maps, points, mode="bilinear", padding_mode="border", align_corners=0)
        bins = g("MaxPool", values, kernel_shape=[POINTS, POINTS], strides=[POINTS, POINTS])
        # (1, k, 3 m, 3) -> (k, m, 9) -> (m, 9, k) -> (m, 9 k)
        by_map = g("Reshape", g("Squeeze", bins, g.constant(0)), g.constant(0, -1, BINS * BINS))
        parts.append(g("Flatten", g("Transpose", by_map, perm=[1, 2, 0]), axis=1))
    g.output(g("Concat", *parts, axis=1) if taps > 1 else parts[0], "rows", ("m", "D"))
    return g


def keep() -> Graph:
    """The store of samples (N, D) with the rows `which` of (m, D) at `places`."""
    g = Graph("fsnet_keep")
    samples, rows = g.input("samples", ("N", "D")), g.input("rows", ("m", "D"))
    which, places = g.input("which", ("j",), INT), g.input("places", ("j",), INT)
    taken = g("Gather", rows, which, axis=0)
    g.output(g("ScatterND", samples, g("Unsqueeze", places, g.constant(1)), taken), "kept", ("N", "D"))
    return g


def layer_inputs(g: Graph, prefix: str = "") -> list[str]:
    shapes: tuple[tuple[str | int, ...], ...] = (("D", "h"), ("h",), ("h", "h"), ("h",), ("h", 2), (2,))
    return [g.input(prefix + name, shape) for name, shape in zip(Layers._fields, shapes, strict=True)]


def forward(g: Graph, layers: Sequence[str], rows: str, masks: Sequence[str] = ()) -> tuple[str, str, str, str, str]:
    """Answers of fc4 and fc5 before and after dropout, and the logits."""
    w4, b4, w5, b5, w6, b6 = layers
    first = g("Relu", g("Add", g("MatMul", rows, w4), b4))
    passed = g("Mul", first, masks[0]) if masks else first
    second = g("Relu", g("Add", g("MatMul", passed, w5), b5))
    passed_on = g("Mul", second, masks[1]) if masks else second
    return first, passed, second, passed_on, g("Add", g("MatMul", passed_on, w6), b6)


def difference(g: Graph, logits: str) -> str:
    """Target less background, (m,)."""
    target, background = (g("Gather", logits, g.constant(k), axis=1) for k in (1, 0))
    return g("Squeeze", g("Sub", target, background), g.constant(1))


def judge() -> Graph:
    """Scores (m,) of rows (m, D), and what the box regression says of them (m, 4)."""
    g = Graph("fsnet_judge")
    rows, layers = g.input("rows", ("m", "D")), layer_inputs(g)
    weights, constants = g.input("regression", ("D", 4)), g.input("constants", (4,))
    g.output(difference(g, forward(g, layers, rows)[-1]), "scores", ("m",))
    g.output(g("Add", g("MatMul", rows, weights), constants), "deltas", ("m", 4))
    return g


def score() -> Graph:
    """Scores (n,) of the samples (N, D) at `places`."""
    g = Graph("fsnet_score")
    samples, places, layers = g.input("samples", ("N", "D")), g.input("places", ("n",), INT), layer_inputs(g)
    g.output(difference(g, forward(g, layers, g("Gather", samples, places, axis=0))[-1]), "scores", ("n",))
    return g


def step() -> Graph:
    """One step of SGD with momentum on the samples at `places`, whose labels (n, 2) are 1 for their class; `share` is
    1 / n. Gives the mean loss before it, and new layers and velocities."""
    g = Graph("fsnet_step")
    samples, places = g.input("samples", ("N", "D")), g.input("places", ("n",), INT)
    labels, share = g.input("labels", ("n", 2)), g.input("share", ())
    masks = [g.input(name, ("n", "h")) for name in ("mask4", "mask5")]
    rate, momentum, decay = (g.input(name, ()) for name in ("rate", "momentum", "decay"))
    layers, velocity = layer_inputs(g), layer_inputs(g, "v_")
    rows = g("Gather", samples, places, axis=0)
    first, passed, second, passed_on, logits = forward(g, layers, rows, masks)
    picked = g("Mul", labels, g("LogSoftmax", logits, axis=1))
    total = g("ReduceSum", picked, g.constant(0, 1), keepdims=0)
    g.output(g("Neg", g("Mul", total, share)), "loss", ())
    d6 = g("Mul", g("Sub", g("Softmax", logits, axis=1), labels), share)

    def back(change: str, weights: str, mask: str, answer: str) -> str:
        positive = g("Cast", g("Greater", answer, g("Sub", answer, answer)), to=FLOAT)
        arrived = g("MatMul", change, g("Transpose", weights, perm=[1, 0]))
        return g("Mul", g("Mul", arrived, mask), positive)

    d5 = back(d6, layers[4], masks[1], second)
    d4 = back(d5, layers[2], masks[0], first)
    gradients = []
    for inputs, change in ((rows, d4), (passed, d5), (passed_on, d6)):
        gradients.append(g("MatMul", g("Transpose", inputs, perm=[1, 0]), change))
        gradients.append(g("ReduceSum", change, g.constant(0), keepdims=0))
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in g.inputs[-6:]]
    for name, value, speed, change, shape in zip(Layers._fields, layers, velocity, gradients, shapes, strict=True):
        pull = g("Mul", rate, g("Add", change, g("Mul", decay, value)))
        moved = g("Sub", g("Mul", momentum, speed), pull)
        g.output(g("Add", value, moved), f"new_{name}", shape)
        g.output(moved, f"new_v_{name}", shape)
    return g


def graphs() -> dict[str, onnx.ModelProto]:
    """All graphs by the name of their file."""
    found = {"look": look(), "keep": keep(), "judge": judge(), "score": score(), "step": step()}
    found |= {f"pool{taps}": pool(taps) for taps in range(1, MOST_TAPS + 1)}
    return {name: graph.model() for name, graph in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="write the ONNX graphs of FSNet")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder (default: the package's own)")
    options = parser.parse_args(arguments)

    def work() -> None:
        for name, model in graphs().items():
            with whole_file(options.output / f"{name}.onnx") as partial:
                partial.write_bytes(model.SerializeToString(deterministic=True))

    return exit_code("fsnet_graphs", work)


if __name__ == "__main__":
    sys.exit(main())
