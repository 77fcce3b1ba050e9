"""ONNX Runtime as a backbone engine, on the processor or, where it is asked for and there, on a CUDA device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import HEIGHT, WIDTH, BackboneInfo, EngineOptions, check_outputs
from edge_tracker.backbones.devices import CUDA, Bound, providers, usable
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ModelError
from edge_tracker.recognise import why_no_model

log = logging.getLogger(__name__)


class OnnxRuntimeBackbone:
    """A `.onnx` file made by converters/. Raises ModelError where the file cannot be used."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        height, width = options.height, options.width
        self.device = usable(options.device)
        session = onnxruntime.SessionOptions()
        session.add_free_dimension_override_by_name(HEIGHT, height)
        session.add_free_dimension_override_by_name(WIDTH, width)
        session.intra_op_num_threads = options.threads
        session.inter_op_num_threads = 1
        session.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), session, providers=providers(self.device))
        except Exception as error:  # the engine's own exceptions have no common base
            raise ModelError(f"ONNX Runtime cannot load {path}: {why_no_model(path, error)}") from error
        if self.device == "cuda" and CUDA not in self._session.get_providers():
            log.warning("running on the processor: %s does not load; its CUDA or cuDNN may be of other versions", CUDA)
            self.device = "cpu"
        metadata = self._session.get_modelmeta().custom_metadata_map
        info = BackboneInfo.from_metadata(metadata, path).at(height, width, path)
        inputs = [(i.shape, i.type) for i in self._session.get_inputs()]
        if inputs != [([1, height, width, 3], "tensor(uint8)")]:
            raise ModelError(f"{path} takes {inputs}, not one uint8 crop [1, {height}, {width}, 3]")
        check_outputs(info, {o.name: o.shape for o in self._session.get_outputs()}, path)
        self.info = info.only(options.taps, path)
        self._input = self._session.get_inputs()[0].name
        self._outputs = [tap.name for tap in self.info.taps]
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True  # a tap not asked for costs nothing
        self._bound: Bound | None = None

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        taps = self._session.run(self._outputs, {self._input: crop[None]}, self._run_options)
        # Views, not copies: (1, C, H, W) seen as (H, W, C) still flattens to (H W, C) for BLAS.
        return [tap[0].transpose(1, 2, 0) for tap in taps]

    def on_device(self, crop: NDArray[np.uint8]) -> list[Any]:
        """Per tap a value (1, C, H, W) that stays where it was computed, see `devices.Bound`."""
        if self._bound is None:
            self._bound = Bound(self._session, self.device, self._run_options)
        taps = self._bound({self._input: crop[None]}, self._outputs)
        return [taps[name] for name in self._outputs]
