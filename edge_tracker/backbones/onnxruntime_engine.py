"""ONNX Runtime as a backbone engine."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import INPUT_SIDE, SIDE, BackboneInfo, check_outputs
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ModelError
from edge_tracker.recognise import why_no_model


class OnnxRuntimeBackbone:
    """A `.onnx` file made by converters/, run on the CPU. Gives the taps of `purposes` of crops of `side` pixels.

    Raises ModelError where the file cannot be used.
    """

    def __init__(
        self, path: Path, threads: int = 1, purposes: Collection[str] = ("selection",), side: int = INPUT_SIDE
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.add_free_dimension_override_by_name(SIDE, side)
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine's own exceptions have no common base
            reason = why_no_model(path, error)
            raise ModelError(f"ONNX Runtime cannot load {path}: {reason}") from error
        info = BackboneInfo.from_metadata(self._session.get_modelmeta().custom_metadata_map, path).at(side, path)
        inputs = [(i.shape, i.type) for i in self._session.get_inputs()]
        if inputs != [([1, side, side, 3], "tensor(uint8)")]:
            raise ModelError(f"{path} takes {inputs}, not one uint8 crop [1, {side}, {side}, 3]")
        check_outputs(info, {o.name: o.shape for o in self._session.get_outputs()}, path)
        self.info = info.only(purposes, path)
        self._input = self._session.get_inputs()[0].name
        self._outputs = [tap.name for tap in self.info.taps]
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True  # a tap not asked for costs nothing

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        taps = self._session.run(self._outputs, {self._input: crop[None]}, self._run_options)
        # Views, not copies: (1, C, H, W) seen as (H, W, C) still flattens to (H W, C) for BLAS.
        return [tap[0].transpose(1, 2, 0) for tap in taps]
