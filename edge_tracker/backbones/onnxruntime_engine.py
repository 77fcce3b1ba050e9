"""ONNX Runtime as a backbone engine, on the processor or, where it is asked for and there, on a CUDA device."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import (
    HEIGHT,
    WIDTH,
    BackboneInfo,
    EngineOptions,
    Features,
    Projection,
    Tap,
    check_outputs,
)
from edge_tracker.backbones.devices import CUDA, Bound, providers, usable
from edge_tracker.backbones.onnx_graph import constant, joined, metadata_of, node, with_outputs
from edge_tracker.backbones.ort import onnxruntime, quiet_settings
from edge_tracker.errors import ModelError, first_line
from edge_tracker.recognise import why_no_model

log = logging.getLogger(__name__)

MOST_PROJECTED = 2  # sessions that are kept: of all taps of a head, and of the coarse one alone


class OnnxRuntimeBackbone:
    """A `.onnx` file made by converters/. Raises ModelError where the file cannot be used.

    With `options.deferred` it is only read, and loaded into the engine by the first call or by `projected`: who reads
    projections alone then has one session, not two.
    """

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self.device = usable(options.device)
        self._path, self._options = path, options
        self._run_options = onnxruntime.RunOptions()
        # A tap not asked for costs nothing then, but for the versions that do not heed it, such as 1.32.
        self._run_options.only_execute_path_to_fetches = True
        self._bound: Bound | None = None
        self._loaded: Any = None  # the session, where there is one already
        self._projected: dict[bytes, Features] = {}  # the last ones asked for, by what they are of
        if options.deferred:
            try:
                metadata = metadata_of(path.read_bytes())
            except (OSError, ValueError) as error:
                raise ModelError(f"ONNX Runtime cannot load {path}: {why_no_model(path, error)}") from error
        else:
            self._loaded = self._load(str(path))
            metadata = self._loaded.get_modelmeta().custom_metadata_map
        stated = BackboneInfo.from_metadata(metadata, path).at(options.height, options.width, path)
        self.info = stated.only(options.taps, path)
        self._outputs = [tap.name for tap in self.info.taps]
        if self._loaded is not None:
            check_outputs(stated, {o.name: o.shape for o in self._loaded.get_outputs()}, path)

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        session = self._session
        taps = session.run(self._outputs, {session.get_inputs()[0].name: crop[None]}, self._run_options)
        # Views, not copies: (1, C, H, W) seen as (H, W, C) still flattens to (H W, C) for BLAS.
        return [tap[0].transpose(1, 2, 0) for tap in taps]

    def projected(self, projections: Mapping[str, Projection]) -> Features:
        """The taps of these names, projected by the engine itself: their many channels are never copied."""
        parts = [(name.encode(), *(part.tobytes() for part in projection)) for name, projection in projections.items()]
        key = b"".join(part for row in parts for part in row)
        if key not in self._projected:
            self._projected = dict([*self._projected.items(), (key, self._projecting(projections))][-MOST_PROJECTED:])
        return self._projected[key]

    def _projecting(self, projections: Mapping[str, Projection]) -> Features:
        try:
            model = self._path.read_bytes()
            added, outputs = [], []
            for name, projection in projections.items():
                tap = next(tap for tap in self.info.taps if tap.name == name)
                nodes, output = _projection(model, tap, projection)
                added += nodes
                outputs.append(output)
            graph = with_outputs(model, added, outputs)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read {self._path}: {first_line(error)}") from error
        session = self._load(graph)
        name = session.get_inputs()[0].name
        return lambda crop: [values[0] for values in session.run(outputs, {name: crop[None]})]

    @property
    def _session(self) -> Any:
        if self._loaded is None:
            self._loaded = self._load(str(self._path))
        return self._loaded

    def _load(self, model: str | bytes) -> Any:
        """A session of a file or of a graph."""
        path, height, width = self._path, self._options.height, self._options.width
        settings = quiet_settings(self._options.threads)
        settings.add_free_dimension_override_by_name(HEIGHT, height)
        settings.add_free_dimension_override_by_name(WIDTH, width)
        try:
            session = onnxruntime.InferenceSession(model, settings, providers=providers(self.device))
        except Exception as error:  # the engine's own exceptions have no common base
            raise ModelError(f"ONNX Runtime cannot load {path}: {why_no_model(path, error)}") from error
        if self.device == "cuda" and CUDA not in session.get_providers():
            log.warning("running on the processor: %s does not load; its CUDA or cuDNN may be of other versions", CUDA)
            self.device = "cpu"
        inputs = [(i.shape, i.type) for i in session.get_inputs()]
        if inputs != [([1, height, width, 3], "tensor(uint8)")]:
            raise ModelError(f"{path} takes {inputs}, not one uint8 crop [1, {height}, {width}, 3]")
        return session

    def on_device(self, crop: NDArray[np.uint8]) -> list[Any]:
        """Per tap a value (1, C, H, W) that stays where it was computed, see `devices.Bound`."""
        if self._bound is None:
            self._bound = Bound(self._session, self.device, self._run_options)
        taps = self._bound({self._session.get_inputs()[0].name: crop[None]}, self._outputs)
        return [taps[name] for name in self._outputs]


def _projection(model: bytes, tap: Tap, projection: Projection) -> tuple[list[bytes], str]:
    """What projects a tap of this graph, channels last, and what that is called.

    The layers that the tap joins are projected one by one and added, so that they are never copied together.
    """
    layers = joined(model, tap.name)
    channels = [layer.channels for layer in tap.layers]
    if len(layers) != len(channels):
        layers, channels = [tap.name], [tap.channels]

    def called(part: str) -> str:
        return f"edge_tracker/{tap.name}/{part}"

    added, first, whole = [constant(called("offset"), -projection.offset)], 0, ""
    for number, (layer, count) in enumerate(zip(layers, channels, strict=True)):
        weights = np.ascontiguousarray(projection.directions[first : first + count].T)[..., None, None]  # 1 x 1
        added.append(constant(called(f"directions {number}"), weights))
        inputs = [layer, called(f"directions {number}"), *([] if number else [called("offset")])]
        added.append(node("Conv", inputs, called(f"projected {number}")))
        if number:
            added.append(node("Add", [whole, called(f"projected {number}")], called(f"sum {number}")))
        whole, first = called(f"sum {number}" if number else "projected 0"), first + count
    added.append(node("Transpose", [whole], called("channels last"), perm=[0, 2, 3, 1]))
    return added, called("channels last")
