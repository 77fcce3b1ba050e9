"""OpenVINO as a backbone engine: IR files (`.xml` with its `.bin`), and `.onnx` files as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import METADATA_KEY, BackboneInfo, EngineOptions, check_outputs
from edge_tracker.backbones.ov import openvino
from edge_tracker.errors import ModelError
from edge_tracker.recognise import mistaken


class OpenVinoBackbone:
    """A `.xml` or `.onnx` file made by converters/, run on the CPU. Raises ModelError where the file cannot be used."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        height, width = options.height, options.width
        core = openvino.Core()
        try:
            model = core.read_model(path)
            info = BackboneInfo.from_metadata(_metadata(model), path).at(height, width, path)
            if len(model.inputs) == 1:
                model.reshape({0: [1, height, width, 3]})
            inputs = [(list(i.shape), i.element_type.to_string()) for i in model.inputs]
            if inputs != [([1, height, width, 3], "u8")]:
                raise ModelError(f"{path} takes {inputs}, not one uint8 crop [1, {height}, {width}, 3]")
            check_outputs(info, {o.any_name: list(o.shape) for o in model.outputs}, path)
            self.info = info.only(options.taps, path)
            # A tap not asked for is cut off, and costs nothing.
            wanted = [next(o for o in model.outputs if tap.name in o.names).node for tap in self.info.taps]
            model = openvino.Model(wanted, model.get_parameters())
            settings = {
                "INFERENCE_NUM_THREADS": options.threads,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",  # else a CPU that has bf16 uses it, unasked
            }
            self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            last = next((line.strip() for line in str(error).splitlines()[::-1] if line.strip()), type(error).__name__)
            raise ModelError(f"OpenVINO cannot load {path}: {mistaken(path) or last}") from error

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        results = self._request.infer([crop[None]], share_inputs=True)
        # Views, not copies: (1, C, H, W) seen as (H, W, C) still flattens to (H W, C) for BLAS.
        return [results[place][0].transpose(1, 2, 0) for place in range(len(self.info.taps))]


def _metadata(model: openvino.Model) -> dict[str, str]:
    """What the file states: an IR in its own runtime information, ONNX in its metadata."""
    for place in ([METADATA_KEY], ["framework", METADATA_KEY]):
        if model.has_rt_info(place):
            value = model.get_rt_info(place)
            return {METADATA_KEY: str(value.astype(str) if hasattr(value, "astype") else value)}
    return {}
