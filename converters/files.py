"""What the converters share at the end: clean ONNX graphs, whole files, errors of one line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from edge_tracker.backbones.base import HEIGHT, METADATA_KEY, WIDTH, BackboneInfo
from edge_tracker.errors import EdgeTrackerError, one_line
from edge_tracker.files import whole_file

OPSET = 18


def finish(model: onnx.ModelProto, info: BackboneInfo) -> onnx.ModelProto:
    """Put `info` into the model's metadata, drop what exporters leave (source paths, stack traces), check it.

    Height and width of the crop become free, to be fixed where the model is loaded.
    """
    del model.metadata_props[:]
    model.graph.ClearField("metadata_props")
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    free_size(graph)
    graph.ClearField("value_info")
    model.producer_name, model.producer_version, model.doc_string = "edge-tracker", "", ""
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_metadata()})
    onnx.checker.check_model(model, full_check=True)
    return model


def free_size(graph: onnx.GraphProto) -> None:
    """Let height and width of the crop be what they will, and those of the taps with them."""
    for dim, symbol in zip(graph.input[0].type.tensor_type.shape.dim[1:3], (HEIGHT, WIDTH), strict=True):
        dim.dim_param = symbol
    for output in graph.output:
        for dim in output.type.tensor_type.shape.dim[2:]:
            dim.dim_param = ""


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write the files of one model, whole: where one cannot be written, none is. Raises OutputError."""
    with contextlib.ExitStack() as stack:
        for path, content in files.items():
            stack.enter_context(whole_file(path)).write_bytes(content)


def exit_code(program: str, work: Callable[[], None]) -> int:
    """Do a converter's work; 0, or 2 after its error as one line on standard error; 130 for Ctrl-C."""
    try:
        work()
    except (EdgeTrackerError, OSError) as error:
        print(f"{program}: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    return 0
