"""The refiner's comparison with frame 1 as one graph of ONNX Runtime, which takes half of the time of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.onnx_graph import constant, new_model, node
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.closed_form.refinement_network import (
    BINS,
    CHANNELS,
    KEY,
    MATCHED,
    PLACES,
    VALUE,
    RefinementNetwork,
)

BLOCK = 16  # channels that ONNX Runtime convolves at a time: others than multiples of it take a slower way
SAMPLES = BINS * BINS

# Samples (SAMPLES, channels), keys of frame 1 (KEY, SAMPLES) and its values (SAMPLES, VALUE + 1) -> (9,), see `SHAPES`
# of the network.
Compare = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


@lru_cache(maxsize=4)
def comparing(network: RefinementNetwork) -> Compare:
    """What compares samples with those of frame 1."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(_graph(network), settings, providers=["CPUExecutionProvider"])

    def compare(
        samples: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        said: NDArray[np.float32] = session.run(None, {"samples": samples, "keys": keys, "values": values})[0][0]
        return said

    return compare


def _graph(network: RefinementNetwork) -> bytes:
    """Attention over frame 1's samples, two convolutions and two layers on what it reads."""
    added: list[bytes] = []
    tensors = network.tensors

    def fixed(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        added.append(constant(name, values))
        return name

    def step(operation: str, output: str, *inputs: str, **attributes: int | list[int]) -> str:
        added.append(node(operation, inputs, output, **attributes))
        return output

    def linear(name: str, values: str, weight: NDArray[np.float32]) -> str:
        return step(
            "Gemm", name, values, fixed(f"{name}.weight", weight), fixed(f"{name}.bias", tensors[f"{name}.bias"])
        )

    def convolved(name: str, maps: str, channels: int, unused: int, stride: int) -> str:
        weight = tensors[f"{name}.weight"].reshape(3, 3, channels, -1).transpose(3, 2, 0, 1)
        weight = np.pad(weight, ((0, 0), (0, unused), (0, 0), (0, 0)))
        inputs = maps, fixed(f"{name}.weight", weight), fixed(f"{name}.bias", tensors[f"{name}.bias"])
        return step("Relu", f"{name}.rectified", step("Conv", name, *inputs, pads=[1] * 4, strides=[stride] * 2))

    weights = {name: tensors[f"{name}.weight"] for name in ("embed.0", "embed.1", "key", "head.1")}
    hidden = step("Relu", "hidden", linear("embed.0", "samples", weights["embed.0"]))
    embedded = linear("embed.1", hidden, weights["embed.1"])
    unit_keys = step("LpNormalization", "unit", linear("key", embedded, weights["key"]), axis=-1, p=2)
    likeness = step("MatMul", "likeness", unit_keys, "keys")
    best = step("ReduceMax", "best", likeness, axes=[1], keepdims=1)
    sharp = step("Mul", "sharp", likeness, fixed("sharpness", np.array(network.sharpness, np.float32)))
    read = step("MatMul", "read", step("Softmax", "shares", sharp, axis=-1), "values")

    unused = -MATCHED % BLOCK
    places = np.pad(PLACES, ((0, 0), (0, unused)))
    rows = step("Transpose", "rows", step("Concat", "matched", embedded, read, best, fixed("places", places), axis=1))
    shape = np.array([1, MATCHED + unused, BINS, BINS])
    maps = convolved("convolve.0", step("Reshape", "maps", rows, fixed("shape", shape)), MATCHED, unused, 1)
    maps = convolved("convolve.1", maps, tensors["convolve.0.bias"].size, 0, 2)
    flat = step("Reshape", "flat", maps, fixed("one row", np.array([1, -1])))
    half, channels = BINS // 2, tensors["convolve.1.bias"].size  # the weights are of (row, column, channel)
    by_place = tensors["head.0.weight"].reshape(half, half, channels, -1)
    decided = linear("head.0", flat, by_place.transpose(2, 0, 1, 3).reshape(half * half * channels, -1))
    linear("head.1", step("Relu", "decided", decided), weights["head.1"])
    inputs = {"samples": (SAMPLES, CHANNELS), "keys": (KEY, SAMPLES), "values": (SAMPLES, VALUE + 1)}
    return new_model(inputs, added, ["head.1"])
