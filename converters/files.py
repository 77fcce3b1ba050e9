"""What the converters share at the end: clean ONNX graphs, whole files, errors of one line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from edge_tracker.backbones.base import METADATA_KEY, SIDE, BackboneInfo
from edge_tracker.errors import EdgeTrackerError, ModelError

OPSET = 18


def finish(model: onnx.ModelProto, info: BackboneInfo) -> onnx.ModelProto:
    """Put `info` into the model's metadata, drop what exporters leave (source paths, stack traces), check it.

    The side of the crop becomes free, to be fixed where the model is loaded.
    """
    del model.metadata_props[:]
    model.graph.ClearField("metadata_props")
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for value, symbol in ((graph.input[0], SIDE), *((output, "") for output in graph.output)):
        dims = value.type.tensor_type.shape.dim
        for dim in dims[1:3] if symbol else dims[2:]:
            dim.dim_param = symbol
    graph.ClearField("value_info")
    model.producer_name, model.producer_version, model.doc_string = "edge-tracker", "", ""
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_metadata()})
    onnx.checker.check_model(model, full_check=True)
    return model


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Write the files of one model under partial names, then rename them: all of them or none. Raises ModelError."""
    partials = {path: path.with_name(path.name + ".partial") for path in files}
    try:
        for path, content in files.items():
            partials[path].write_bytes(content)
        for path, partial in partials.items():
            partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            for partial in partials.values():
                partial.unlink(missing_ok=True)
        raise ModelError(f"cannot write {next(iter(files))}: {error.strerror or error}") from error


def exit_code(program: str, work: Callable[[], None]) -> int:
    """Do a converter's work; 0, or 2 after its error as one line on standard error."""
    try:
        work()
    except EdgeTrackerError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    return 0
