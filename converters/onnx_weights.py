"""Float weights out of an ONNX file that to_onnx.py wrote: a packaged model converts without the file it was made from.

The exporter keeps the names of the trunk's parameters, and calls the bias that a folded batch norm leaves behind
`<weight>_bias`. Colour order and normalisation, which to_onnx.py has put into the first convolution, are taken out
again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from edge_tracker.errors import ModelError, first_line

PREFIX, FOLDED, HALF = "trunk.", "_bias", "_fp16"
EPSILON = 1e-3  # of the trunks' batch norms


def read_weights(path: Path, std: tuple[float, float, float]) -> dict[str, Tensor]:
    """The state dict of the trunk in the ONNX file at `path`; std: of the trunk's input, RGB / 255.

    A folded batch norm becomes one that adds the bias and changes nothing else. Raises ModelError where the file holds
    no float weights (an INT8 file has lost them).
    """
    try:
        graph = onnx.load(str(path)).graph
        arrays = {tensor.name.removesuffix(HALF): numpy_helper.to_array(tensor) for tensor in graph.initializer}
    except Exception as error:  # protobuf's and onnx's own have no common base
        raise ModelError(f"cannot read weights from {path}: {first_line(error)}") from error
    floats = {name: values for name, values in arrays.items() if values.dtype in (np.float16, np.float32)}
    if any("_quantized" in name for name in arrays) or not any(name.startswith(PREFIX) for name in floats):
        raise ModelError(f"{path} holds no float weights of a trunk: take the fp32 or fp16 file")
    state: dict[str, Tensor] = {}
    for name, values in floats.items():
        if not name.startswith(PREFIX):
            continue
        key, tensor = name.removeprefix(PREFIX), torch.from_numpy(values.astype(np.float32))
        if key.endswith(f".weight{FOLDED}"):
            norm = key.removesuffix(f"0.weight{FOLDED}") + "1."
            state |= {
                f"{norm}weight": torch.ones_like(tensor),
                f"{norm}bias": tensor,
                f"{norm}running_mean": torch.zeros_like(tensor),
                f"{norm}running_var": torch.full_like(tensor, 1 - EPSILON),
            }
        else:
            state[key] = tensor
    stem = next(key for key in sorted(state) if state[key].ndim == 4)
    scale = torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1) * 255
    state[stem] = (state[stem].flip(1).double() * scale).float()
    return state
