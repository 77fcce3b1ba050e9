"""What every writer of ONNX files does at the end: state the taps, drop the traces of the machine, write whole."""

from __future__ import annotations

from pathlib import Path

import onnx

from edge_tracker.backbones.base import METADATA_KEY, BackboneInfo
from edge_tracker.backbones.catalogue import ModelCard, entry_of
from edge_tracker.errors import ModelError

OPSET = 18


def finish(model: onnx.ModelProto, info: BackboneInfo) -> onnx.ModelProto:
    """Put `info` into the model's metadata, drop what exporters leave (source paths, stack traces), check it."""
    del model.metadata_props[:]
    model.graph.ClearField("metadata_props")
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    model.producer_name, model.producer_version, model.doc_string = "edge-tracker", "", ""
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_metadata()})
    onnx.checker.check_model(model, full_check=True)
    return model


def write(model: onnx.ModelProto, output: Path, origin: str) -> None:
    """Write the model and its card, the model under a partial name first, and print what was written.

    origin: what the weights are, for the card. Raises ModelError.
    """
    name = BackboneInfo.from_metadata({p.key: p.value for p in model.metadata_props}, output).model
    temporary = output.with_name(output.name + ".partial")
    try:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        temporary.replace(output)
        card = ModelCard.of(output, entry_of(name), origin)
        card.write(output)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ModelError(f"cannot write {output}: {error.strerror}") from error
    print(f"{output}: {card.bytes} bytes, sha256 {card.sha256}")
