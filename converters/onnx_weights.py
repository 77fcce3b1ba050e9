"""Float weights out of an ONNX file that to_onnx.py wrote: a packaged model converts without the file it was made from.

The exporter calls a convolution's weights as the trunk calls them; a bias is found by the convolution that adds it.
Colour order and normalisation, which to_onnx.py has put into the first convolution, are taken out again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from edge_tracker.errors import ModelError, first_line

PREFIX = "trunk."
EPSILON = 1e-3  # of the trunks' batch norms


def read_weights(path: Path, expected: Collection[str], std: tuple[float, float, float]) -> dict[str, Tensor]:
    """The state dict of the trunk in the ONNX file at `path`.

    expected: the trunk's keys; where it has a batch norm behind a convolution, that becomes one that adds the bias and
    changes nothing else. std: of the trunk's input, RGB / 255. Raises ModelError where the file holds no float weights
    (an INT8 file has lost them).
    """
    try:
        graph = onnx.load(str(path)).graph
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    except Exception as error:  # protobuf's and onnx's own have no common base
        raise ModelError(f"cannot read weights from {path}: {first_line(error)}") from error
    for node in graph.node:  # 16-bit weights are widened by a Cast
        if node.op_type == "Cast" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    state: dict[str, Tensor] = {}
    stem = ""
    for node in graph.node:
        if node.op_type != "Conv" or not node.input[1].startswith(PREFIX) or not _is_float(values, node.input[1]):
            continue
        key = node.input[1].removeprefix(PREFIX)
        stem = stem or key  # the first convolution of the graph
        state[key] = torch.from_numpy(values[node.input[1]].astype(np.float32))
        # The exporter leaves a bias of zeros out.
        bias = values[node.input[2]] if len(node.input) > 2 else np.zeros(len(state[key]))
        state |= _bias(key, torch.from_numpy(bias.astype(np.float32)), expected)
    if not state:
        raise ModelError(f"{path} holds no float weights of a trunk: take the fp32 or fp16 file")
    scale = torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1) * 255
    if state[stem].shape[1] == 3:
        state[stem] = (state[stem].flip(1).double() * scale).float()
    return state


def _is_float(values: dict[str, NDArray[np.generic]], name: str) -> bool:
    return name in values and values[name].dtype in (np.float16, np.float32) and values[name].ndim == 4


def _bias(weight: str, bias: Tensor, expected: Collection[str]) -> dict[str, Tensor]:
    """The bias of a convolution as the trunk holds it: its own, or a batch norm's behind it."""
    own, norm = weight.removesuffix("weight") + "bias", weight.removesuffix("0.weight") + "1."
    if own in expected or f"{norm}running_var" not in expected:
        return {own: bias}
    return {
        f"{norm}weight": torch.ones_like(bias),
        f"{norm}bias": bias,
        f"{norm}running_mean": torch.zeros_like(bias),
        f"{norm}running_var": torch.full_like(bias, 1 - EPSILON),
    }
