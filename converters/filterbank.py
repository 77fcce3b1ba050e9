"""Build the filter bank, a backbone by hand: `python converters/filterbank.py --output FILE.onnx`.

Joint colour histograms (soft bins of brightness and two opponent colours) and oriented gradients at two scales,
averaged over 16 x 16 px cells. Nothing is trained and nothing is anybody's but ours, so the package can carry it and
track from the first minute; a trained network is better (docs/results.md).
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from converters.writing import OPSET, finish, write
from edge_tracker.backbones.base import BackboneInfo, Layer, Tap
from edge_tracker.errors import EdgeTrackerError

SIDE, STRIDE = 224, 16
BINS = 5  # per colour axis; 125 joint bins
ORIENTATIONS = 8
# Rows: brightness, red-green, yellow-blue, each scaled to [0, 1]; columns: B, G, R in [0, 255].
AXES = np.array([[1 / 3, 1 / 3, 1 / 3], [0, -0.5, 0.5], [-0.5, 0.25, 0.25]]) / 255
AXES_BIAS = np.array([0.0, 0.5, 0.5])
# Opponent colours of real pictures crowd around grey, so their bins are narrower than those of brightness.
CENTRES = (np.linspace(0, 1, BINS), 0.5 + np.linspace(-0.2, 0.2, BINS), 0.5 + np.linspace(-0.2, 0.2, BINS))


class Graph:
    """An ONNX graph under construction; each method adds a node and returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[np.generic] | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def convolve(self, x: str, kernels: NDArray[np.float64], bias: NDArray[np.float64] | None = None) -> str:
        """'Same' convolution with (out, in, k, k) kernels."""
        pad = (kernels.shape[2] - 1) // 2
        weights = [self.constant(kernels.astype(np.float32))]
        if bias is not None:
            weights.append(self.constant(bias.astype(np.float32)))
        return self.add("Conv", x, *weights, pads=[pad] * 4)

    def average(self, x: str, size: int) -> str:
        return self.add("AveragePool", x, kernel_shape=[size, size], strides=[size, size])


def oriented_gradients() -> NDArray[np.float64]:
    """(ORIENTATIONS, 1, 3, 3) derivative kernels of unit response to a unit ramp, evenly turned."""
    across = np.outer([1, 2, 1], [-1, 0, 1]) / 8
    angles = 2 * np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    return np.stack([np.cos(a) * across + np.sin(a) * across.T for a in angles])[:, None]


def soft_bins(graph: Graph, axis: str, centres: NDArray[np.float64]) -> str:
    """Triangular membership of one axis (1, 1, H, W) in bins: (1, BINS, H, W), summing to 1 at every pixel."""
    width = min(b - a for a, b in pairwise(centres))
    clipped = graph.add("Clip", axis, graph.constant(np.float32(centres[0])), graph.constant(np.float32(centres[-1])))
    distance = graph.add(
        "Abs", graph.add("Sub", clipped, graph.constant(centres.astype(np.float32).reshape(1, -1, 1, 1)))
    )
    scaled = graph.add("Mul", distance, graph.constant(np.float32(-1 / width)))
    return graph.add("Relu", graph.add("Add", scaled, graph.constant(np.float32(1))))


def build() -> onnx.ModelProto:
    """The filter bank as an ONNX model with one tap."""
    graph = Graph()
    pixels = graph.add("Transpose", graph.add("Cast", "crop", to=onnx.TensorProto.FLOAT), perm=[0, 3, 1, 2])
    half = graph.average(graph.convolve(pixels, AXES[:, :, None, None], AXES_BIAS), 2)
    quarter = graph.average(half, 2)

    split = graph.constant(np.array([1, 1, 1], np.int64))
    axes = [f"axis_{i}" for i in range(3)]
    graph.nodes.append(helper.make_node("Split", [quarter, split], axes, axis=1))
    bins = [soft_bins(graph, axis, centres) for axis, centres in zip(axes, CENTRES, strict=True)]
    cells = SIDE // 4
    joint = bins[0]
    for number, other in enumerate(bins[1:], start=2):  # outer product over the channels
        left = graph.add("Reshape", joint, graph.constant(np.array([1, -1, 1, cells * cells])))
        right = graph.add("Reshape", other, graph.constant(np.array([1, 1, BINS, cells * cells])))
        joint = graph.add(
            "Reshape", graph.add("Mul", left, right), graph.constant(np.array([1, BINS**number, cells, cells]))
        )
    colours = graph.average(joint, STRIDE // 4)

    gradients = []
    for scale, picture in ((2, half), (4, quarter)):
        brightness = graph.add("Slice", picture, *(graph.constant(np.array([v])) for v in (0, 1, 1)))
        response = graph.add("Relu", graph.convolve(brightness, oriented_gradients() * scale))
        gradients.append(graph.average(response, STRIDE // scale))
    graph.add("Concat", colours, *gradients, output="stride16", axis=1)

    layers = (Layer("colour", BINS**3), Layer("gradient2", ORIENTATIONS), Layer("gradient4", ORIENTATIONS))
    info = BackboneInfo("filterbank", SIDE, (Tap("stride16", STRIDE, layers),))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "filterbank",
            [helper.make_tensor_value_info("crop", onnx.TensorProto.UINT8, [1, SIDE, SIDE, 3])],
            [
                helper.make_tensor_value_info(
                    "stride16", onnx.TensorProto.FLOAT, [1, info.taps[0].channels, SIDE // STRIDE, SIDE // STRIDE]
                )
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    return finish(model, info)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the filter bank backbone.")
    parser.add_argument("--output", type=Path, required=True, help="the .onnx file to write")
    args = parser.parse_args(argv)
    try:
        write(build(), args.output, origin="none: made by hand")
    except EdgeTrackerError as error:
        print(f"filterbank: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
