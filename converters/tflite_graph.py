"""TFLite files from the inside: names, ranges, biases, delegate. Knows flatbuffers; knows nothing of torch."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

from edge_tracker.backbones.litert_engine import METADATA_FILE

PERCENTILE = 99.99  # of activations, what lies beyond is cut off
SAMPLES = 2000  # values of a tensor and crop that its range is taken from
OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def unpack(model: bytes) -> Any:
    return flatbuffer_utils.read_model_from_bytearray(bytearray(model))


def pack(model: Any) -> bytes:
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operator(model: Any, op: Any) -> str:
    """What an operation is called, "CONV_2D" for one."""
    return OPERATORS[model.operatorCodes[op.opcodeIndex].builtinCode]


def name_tensors(model: bytes, outputs: Sequence[str], input_name: str = "crop") -> bytes:
    """Call what every operation makes after its place in the trunk, which the exporter notes: "block1.CONV_2D_7".

    Input and outputs are called what is given. Block 0 is the stem.
    """
    parsed = unpack(model)
    graph = parsed.subgraphs[0]
    for number, op in enumerate(graph.operators):
        for tensor in op.outputs:
            old = graph.tensors[tensor].name.decode()
            block = re.search(r"InvertedResidual_(\d+)", old)
            stem = re.search(r"CropToTaps_wrapped/converters\.trunks\.ConvNormActivation_0", old)
            part = f"block{block[1]}." if block else "stem." if stem else ""
            graph.tensors[tensor].name = f"{part}{operator(parsed, op)}_{number}".encode()
    graph.tensors[graph.inputs[0]].name = input_name.encode()
    signature = parsed.signatureDefs[0]
    signature.inputs[0].name = input_name.encode()
    for number, name in enumerate(outputs):
        entry = next(o for o in signature.outputs if o.name.decode() == f"output_{number}")
        entry.name = name.encode()
        graph.tensors[entry.tensorIndex].name = name.encode()
    return pack(parsed)


def with_metadata(model: bytes, text: str) -> bytes:
    """The model with `text` in a ZIP archive behind it, where TFLite's own metadata tools put their files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        entry = zipfile.ZipInfo(METADATA_FILE, (1980, 1, 1, 0, 0, 0))  # the same bytes on every run
        file.writestr(entry, text)
    # Offsets inside an archive may count from the start of the archive: readers find it from the end of the file.
    return model + archive.getvalue()


def runs(model: bytes, inputs: NDArray[Any]) -> Iterator[Interpreter]:
    """Run the model on one input after the other, crops (N, S, S, 3) or what else it takes; yields the interpreter,
    which keeps all tensors."""
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    signed = details["dtype"] == np.int8
    for one in inputs:
        batch = one[None] if one.dtype == np.uint8 else one
        values = (batch ^ 0x80).view(np.int8) if signed else batch.astype(details["dtype"])
        interpreter.set_tensor(details["index"], values)
        interpreter.invoke()
        yield interpreter


def ranges(model: bytes, inputs: NDArray[Any]) -> dict[str, tuple[float, float]]:
    """The range that every tensor of a float model shall have in int8: name -> (low, high).

    Outliers beyond PERCENTILE are cut off, and of the input of a hard swish what its gate makes zero of anyway. Crops
    keep 0 to 255, other inputs all they hold.
    """
    parsed = unpack(model)
    graph = parsed.subgraphs[0]
    tensors = sorted({t for op in graph.operators for t in op.outputs})
    floors = _gate_floors(parsed)
    generator = np.random.default_rng(0)
    samples: dict[int, list[NDArray[np.float32]]] = {tensor: [] for tensor in tensors}
    for interpreter in runs(model, inputs):
        for tensor in tensors:
            values = interpreter.get_tensor(tensor)
            if tensor in floors:
                values = np.maximum(values, floors[tensor])
            flat = values.ravel()
            samples[tensor].append(flat if len(flat) <= SAMPLES else generator.choice(flat, SAMPLES))
    found = {}
    for tensor, taken in samples.items():
        low, high = np.percentile(np.concatenate(taken), [100 - PERCENTILE, PERCENTILE])
        found[graph.tensors[tensor].name.decode()] = (min(0.0, float(low)), max(0.0, float(high)))
    whole = (0.0, 255.0) if inputs.dtype == np.uint8 else (min(0.0, float(inputs.min())), max(0.0, float(inputs.max())))
    found[graph.tensors[graph.inputs[0]].name.decode()] = whole
    return found


def _gate_floors(parsed: Any) -> dict[int, NDArray[np.float32]]:
    """Tensors that a hard swish reads -> the value per channel below which its gate relu6(k x + 3) is 0."""
    graph = parsed.subgraphs[0]
    floors = {}
    for op in graph.operators:
        if operator(parsed, op) != "DEPTHWISE_CONV_2D":
            continue
        weight = graph.tensors[op.inputs[1]]
        if list(weight.shape[1:3]) == [1, 1]:
            k = np.frombuffer(bytes(parsed.buffers[weight.buffer].data), np.float32)
            floors[int(op.inputs[0])] = (-3 / k).astype(np.float32)
    return floors


def correct_biases(quantised: bytes, reference: bytes, crops: NDArray[np.uint8]) -> bytes:
    """Move the mean of every convolution's channels to where the float model has it (Nagel et al. 2019, section 4.2).

    Layer after layer, each behind the corrected ones before it. Gates of hard swishes are left as they are.
    """
    parsed, floating = unpack(quantised), unpack(reference)
    graph = parsed.subgraphs[0]
    by_name = {tensor.name: number for number, tensor in enumerate(floating.subgraphs[0].tensors)}
    layers = [op for op in graph.operators if _correctable(parsed, op)]
    originals = [by_name[graph.tensors[op.outputs[0]].name] for op in layers]
    expected = _channel_means(reference, originals, crops)
    for op, mean in zip(layers, expected, strict=True):
        (found,) = _channel_means(pack(parsed), [int(op.outputs[0])], crops)
        quantisation = graph.tensors[op.outputs[0]].quantization
        found = (found - quantisation.zeroPoint[0]) * quantisation.scale[0]
        bias = graph.tensors[op.inputs[2]]
        buffer = parsed.buffers[bias.buffer]
        values = np.frombuffer(bytes(buffer.data), np.int32) + np.round((mean - found) / bias.quantization.scale)
        limits = np.iinfo(np.int32)
        clipped = np.clip(values, limits.min, limits.max).astype(np.int32)
        buffer.data = np.frombuffer(clipped.tobytes(), np.uint8)
    return pack(parsed)


def _correctable(parsed: Any, op: Any) -> bool:
    """True for an integer convolution with a bias that is no gate."""
    tensors = parsed.subgraphs[0].tensors
    if operator(parsed, op) not in ("CONV_2D", "DEPTHWISE_CONV_2D") or len(op.inputs) < 3 or op.inputs[2] < 0:
        return False
    gate = operator(parsed, op) == "DEPTHWISE_CONV_2D" and list(tensors[op.inputs[1]].shape[1:3]) == [1, 1]
    return tensors[op.outputs[0]].type == schema.TensorType.INT8 and not gate


def _channel_means(model: bytes, tensors: Sequence[int], crops: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Means over crops and cells of what these tensors hold, (C,) each, in their own units."""
    sums: list[NDArray[np.float64]] = [np.zeros(1)] * len(tensors)
    for interpreter in runs(model, crops):
        for place, tensor in enumerate(tensors):
            sums[place] = sums[place] + interpreter.get_tensor(tensor).mean((0, 1, 2), dtype=np.float64)
    return [total / len(crops) for total in sums]


def operations(model: bytes) -> tuple[Counter[str], Counter[str], list[str]]:
    """Operations by kind, those that compute in float, and the latter's names (of what they make)."""
    parsed = unpack(model)
    tensors = parsed.subgraphs[0].tensors
    every: Counter[str] = Counter()
    floating: Counter[str] = Counter()
    names = []
    for op in parsed.subgraphs[0].operators:
        kind = operator(parsed, op)
        every[kind] += 1
        made = tensors[op.outputs[0]]
        if made.type == schema.TensorType.FLOAT32 and kind not in ("DEQUANTIZE", "CAST"):
            floating[kind] += 1
            names.append(made.name.decode())
    return every, floating, names


def partitions(path: Path) -> int:
    """In how many parts the CPU delegate takes the model; one is best."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())
