"""The refiner's comparison with frame 1 as two graphs of ONNX Runtime, which is quicker than NumPy."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.onnx_graph import constant, new_model, node
from edge_tracker.backbones.ort import onnxruntime, quiet_settings
from edge_tracker.closed_form.refinement_network import (
    BINS,
    CHANNELS,
    KEY,
    NARROW,
    PLACES,
    Reference,
    RefinementNetwork,
)

SAMPLES = BINS * BINS


class Looked(NamedTuple):
    """Of samples, what does not depend on what they are compared with."""

    keys: NDArray[np.float32]  # unit vectors: (SAMPLES, KEY)
    own: NDArray[np.float32]  # their own part of what is convolved: (SAMPLES, NARROW)


class Comparison:
    """Runs the network: first what is the same whatever the samples are compared with, then the rest of it."""

    def __init__(self, network: RefinementNetwork) -> None:
        self._look, self._judge = _session(_looking(network)), _session(_judging(network))

    def look(self, samples: NDArray[np.float32]) -> Looked:
        """samples: (SAMPLES, channels)."""
        return Looked(*self._look.run(None, {"samples": samples}))

    def judge(self, looked: Looked, reference: Reference) -> NDArray[np.float32]:
        """What the network says of the samples beside those of frame 1: (9,), see `SHAPES` of the network."""
        inputs = {"wanted": looked.keys, "own": looked.own, "keys": reference.keys, "values": reference.values}
        said: NDArray[np.float32] = self._judge.run(None, inputs)[0][0]
        return said


@lru_cache(maxsize=4)
def comparison(network: RefinementNetwork) -> Comparison:
    return Comparison(network)


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, quiet_settings(), providers=["CPUExecutionProvider"])


class _Graph:
    """Collects nodes and constants of a graph."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def fixed(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self.parts.append(constant(name, values))
        return name

    def step(self, operation: str, output: str, *inputs: str, **attributes: int | list[int]) -> str:
        self.parts.append(node(operation, inputs, output, **attributes))
        return output

    def linear(self, name: str, values: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        return self.step("Gemm", name, values, self.fixed(f"{name}.weight", weight), self.fixed(f"{name}.bias", bias))


def _looking(network: RefinementNetwork) -> bytes:
    """Two layers on each sample; what is linear after the first is one matrix for keys and one for `narrow`."""
    graph, tensors = _Graph(), network.tensors
    hidden = graph.linear("embed.0", "samples", tensors["embed.0.weight"], tensors["embed.0.bias"])
    hidden = graph.step("Relu", "hidden", hidden)
    embed, offset = tensors["embed.1.weight"], tensors["embed.1.bias"]
    key = tensors["key.weight"]
    keys = graph.linear("key", hidden, embed @ key, offset @ key + tensors["key.bias"])
    graph.step("LpNormalization", "wanted", keys, axis=-1, p=2)
    narrow = network.narrow["embedded"]
    same = PLACES @ network.narrow["places"] + offset @ narrow + tensors["narrow.bias"]  # whatever is seen
    graph.linear("own", hidden, embed @ narrow, same)
    return new_model({"samples": (SAMPLES, CHANNELS)}, graph.parts, ["wanted", "own"])


def _judging(network: RefinementNetwork) -> bytes:
    """Attention over frame 1's samples, two convolutions and two layers on what it reads."""
    graph, tensors = _Graph(), network.tensors

    def convolved(name: str, maps: str, channels: int, stride: int) -> str:
        weight = tensors[f"{name}.weight"].reshape(3, 3, channels, -1).transpose(3, 2, 0, 1)
        inputs = maps, graph.fixed(f"{name}.weight", weight), graph.fixed(f"{name}.bias", tensors[f"{name}.bias"])
        return graph.step(
            "Relu", f"{name}.rectified", graph.step("Conv", name, *inputs, pads=[1] * 4, strides=[stride] * 2)
        )

    likeness = graph.step("MatMul", "likeness", "wanted", "keys")
    best = graph.step("ReduceMax", "best", likeness, axes=[1], keepdims=1)
    read = graph.step("MatMul", "read", graph.step("Softmax", "shares", likeness, axis=-1), "values")
    of_best = graph.fixed("best.weight", network.narrow["best"] / np.float32(network.sharpness))
    known = graph.step("Add", "known", read, graph.step("MatMul", "of best", best, of_best))
    rows = graph.step("Transpose", "rows", graph.step("Add", "narrow", known, "own"))
    shape = graph.fixed("shape", np.array([1, NARROW, BINS, BINS]))
    maps = convolved("convolve.0", graph.step("Reshape", "maps", rows, shape), NARROW, 1)
    maps = convolved("convolve.1", maps, tensors["convolve.0.bias"].size, 2)
    flat = graph.step("Reshape", "flat", maps, graph.fixed("one row", np.array([1, -1])))
    half, channels = BINS // 2, tensors["convolve.1.bias"].size  # the weights are of (row, column, channel)
    by_place = tensors["head.0.weight"].reshape(half, half, channels, -1).transpose(2, 0, 1, 3)
    decided = graph.linear("head.0", flat, by_place.reshape(half * half * channels, -1), tensors["head.0.bias"])
    decided = graph.step("Relu", "decided", decided)
    graph.linear("head.1", decided, tensors["head.1.weight"], tensors["head.1.bias"])
    inputs = {"wanted": (SAMPLES, KEY), "own": (SAMPLES, NARROW), "keys": (KEY, SAMPLES), "values": (SAMPLES, NARROW)}
    return new_model(inputs, graph.parts, ["head.1"])
