"""The fingerprint of a trunk: SHA-256 over its float weights, the same for every file made from them.

What is hashed: of every convolution, batch norm folded, the shape of its weights, the weights (out, in / groups, rows,
columns) and the bias (out,), as the exported float graph holds them (scale and colour order in the first convolution);
and the mean colour that is subtracted before it. Values are rounded to float16 and taken as little-endian bytes: files
that store 16 bits and files that store 32 then have one fingerprint. Each convolution has a digest of its own; the
digests are sorted, so that neither names nor the order of nodes matter.

All arithmetic before the rounding is elementwise and correctly rounded (IEEE 754), so it is the same on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from converters.rewrites import CropToTaps, fold_batch_norm
from converters.trunks import Trunk, TrunkSpec
from edge_tracker.errors import ModelError

Arrays = Iterable[NDArray[np.floating]]


def fingerprint(convolutions: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]], mean: Arrays) -> str:
    """Hex digits of SHA-256 of weights and biases, and the mean colour (3,), BGR, 0 to 255."""
    digests = sorted(_digest(weight, bias) for weight, bias in convolutions)
    return hashlib.sha256(b"".join([_digest(*mean), *digests])).hexdigest()


def _digest(*arrays: NDArray[np.floating]) -> bytes:
    digest = hashlib.sha256()
    for array in arrays:
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(array.astype("<f2") + np.float16(0))  # -0 becomes 0
        digest.update(f"{array.shape}".encode() + half.tobytes())
    return digest.digest()


def of_trunk(trunk: Trunk, spec: TrunkSpec) -> str:
    """The fingerprint of a trunk in torch behind its preprocessing."""
    module = CropToTaps(fold_batch_norm(trunk), spec)
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    pairs = []
    for layer in convolutions:
        weight = layer.weight.detach().numpy()
        pairs.append((weight, np.zeros(len(weight), np.float32) if layer.bias is None else layer.bias.detach().numpy()))
    return fingerprint(pairs, [module.mean_bgr.numpy().ravel()])


def of_graph(model: onnx.ModelProto) -> str:
    """The fingerprint of a float ONNX graph (fp32 or fp16) as converters/ write it. Raises ModelError for another."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:  # 16-bit weights are widened by a Cast
        if node.op_type == "Cast" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    try:
        pairs = []
        for node in model.graph.node:
            if node.op_type == "Conv":
                weight = values[node.input[1]]
                bias = values[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight), np.float32)
                pairs.append((weight, bias))
        mean = next(values[node.input[1]] for node in model.graph.node if node.op_type == "Sub")
    except (KeyError, StopIteration) as error:
        raise ModelError("the graph's convolutions or mean colour are no float constants") from error
    return fingerprint(pairs, [mean.ravel()])
