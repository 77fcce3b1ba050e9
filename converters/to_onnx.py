"""Convert a network to ONNX: `python converters/to_onnx.py --model mobilenetv3-small --weights FILE --output FILE`.

The graph takes the raw crop, uint8 (1, S, S, 3) BGR, and gives one float32 output (1, C, H, W) per tap; colour
order and normalisation are inside. What the model is (taps, strides, layers) is kept in its metadata.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder
if __name__ == "__main__":
    from converters.extras import need

    need("to_onnx", "convert-onnx", "torch", "onnx", "onnxscript", "scipy")

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from converters import cli, weight_network
from converters.files import OPSET, finish
from converters.plan import Graph, Network, Plan
from converters.quiet import quiet
from converters.rewrites import (
    CropToTaps,
    equalise,
    floor_dead_channels,
    fold_batch_norm,
    fold_dead_squeeze_excite,
    normalised,
    split_stem,
)
from converters.trunks import Trunk, TrunkSpec
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ModelError

TOLERANCE = 1e-4  # of ONNX against torch, relative to each tap's largest activation
CALIBRATION_CROPS, BIAS_CROPS = 100, 24
PERCENTILE = 99.99  # of activations, what lies beyond is cut off
# Relu among them lets its convolution's output have the range behind it, and not the negative half for nothing.
QUANTISED = ("Conv", "Relu", "Clip", "Add", "Mul", "GlobalAveragePool", "ReduceMean")


def export(network: Network, prepared: Trunk | None = None) -> onnx.ModelProto:
    """Export a network and return the ONNX model, checked against torch on a random crop.

    prepared: the same network in another form, to be exported in its place. Nodes are called after the block they
    belong to, "stem..." or "block<n>...". Raises ModelError where ONNX Runtime's taps differ from torch's by more than
    TOLERANCE.
    """
    spec, info = network.spec, network.info("fp32")
    crop = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (1, spec.input_side, spec.input_side, 3), dtype=np.uint8)
    )
    module = CropToTaps(prepared or fold_batch_norm(network.trunk), spec).eval()
    with tempfile.TemporaryDirectory() as folder, quiet("torch.onnx"), torch.no_grad():
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(
            module,
            (crop,),
            path,
            input_names=["crop"],
            output_names=[tap.name for tap in info.taps],
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        model = onnx.load(path)
    _name_nodes(model)
    finish(model, info)
    check_against_torch(model, network.trunk, spec, crop)
    return model


def check_against_torch(model: onnx.ModelProto, trunk: Trunk, spec: TrunkSpec, crop: Tensor) -> float:
    """Largest difference between ONNX and the plain torch trunk, relative to each tap's largest activation.

    The torch side normalises the way torchvision documents it, so a slip in the folding shows here.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"crop": crop.numpy()})
    with torch.no_grad():
        expected = trunk(normalised(crop.numpy(), spec))
    error = max(
        float(np.abs(a - b.numpy()).max() / max(np.abs(b.numpy()).max(), 1e-12))
        for a, b in zip(found, expected, strict=True)
    )
    if not error <= TOLERANCE:
        raise ModelError(f"the ONNX model differs from torch by {error:.1e} of its range, over {TOLERANCE:.0e}")
    return error


def _name_nodes(model: onnx.ModelProto) -> None:
    """Call every node after its place in the trunk, which the exporter notes: block 0 is the stem."""
    for number, node in enumerate(model.graph.node):
        scopes = next((p.value for p in node.metadata_props if p.key.endswith("name_scopes")), "")
        place = re.search(r"trunk\.features\.(\d+)", scopes)
        block = "" if place is None else "stem." if place[1] == "0" else f"block{place[1]}."
        node.name = f"{block}{node.op_type}_{number}"


def for_quantisation(network: Network, plan: Plan) -> onnx.ModelProto:
    """The network as float ONNX in the form that quantises best where an engine has a hard swish of its own."""
    x = normalised(plan.crops()[:CALIBRATION_CROPS], network.spec)
    prepared = floor_dead_channels(fold_dead_squeeze_excite(fold_batch_norm(network.trunk), x))
    return export(network, equalise(prepared if "stem" in plan.kept_in_float else split_stem(prepared), x))


class OnnxWriter:
    """Writes `.onnx` files for ONNX Runtime: uint8 activations and int8 weights, which it runs fastest."""

    program = "to_onnx"
    engine = "onnxruntime"
    suffix = ".onnx"

    def write(self, network: Network, plan: Plan, path: Path) -> None:
        model = for_quantisation(network, plan) if plan.quantised else export(network)
        if plan.quantised:
            floating, model = model, quantise(model, plan)
            if plan.precision == "int8":  # with stem and first block in float the means stay what they were
                model = correct_biases(model, floating, plan.crops()[:BIAS_CROPS])
        if plan.precision == "fp16":
            store_as_fp16(model)
        if plan.precision != "fp32":
            finish(model, network.info(plan.precision))
        path.write_bytes(model.SerializeToString(deterministic=True))

    def inspect(self, path: Path, plan: Plan) -> Graph:
        nodes = onnx.load(str(path)).graph.node
        fed_by_integers = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
        plumbing = ("QuantizeLinear", "DequantizeLinear", "Cast", "Concat", "Transpose")
        floating = [n for n in nodes if n.op_type not in plumbing and not fed_by_integers & set(n.input)]
        convolutions = [n.name for n in floating if n.op_type == "Conv" and not _kept(n.name, plan.kept_in_float)]
        return Graph(
            dict(Counter(node.op_type for node in nodes)),
            dict(Counter(node.op_type for node in floating)),
            foreign=tuple(convolutions) if plan.quantised else (),
        )


def _kept(name: str, kept: Sequence[str]) -> bool:
    return name.split(".")[0] in kept


def quantise(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """Static quantisation in QDQ form. Raises ModelError where it fails, or a name to keep in float is unknown."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.crops: Iterator[NDArray[np.uint8]] = iter(plan.crops()[:CALIBRATION_CROPS])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            crop = next(self.crops, None)
            return None if crop is None else {"crop": crop[None]}

    excluded = kept_nodes([node.name for node in model.graph.node], plan.kept_in_float)
    given = onnx.ModelProto()
    given.CopyFrom(model)  # its weights are moved out into a file
    with tempfile.TemporaryDirectory() as folder, quiet():
        result = Path(folder) / "int8.onnx"
        quantize_static(
            given,
            str(result),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=excluded,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )
        return onnx.load(str(result))


def correct_biases(quantised: onnx.ModelProto, floating: onnx.ModelProto, crops: NDArray[np.uint8]) -> onnx.ModelProto:
    """Give each channel of every convolution the mean it has in float, layer after layer (Nagel et al. 2019, 4.2)."""
    corrected = onnx.ModelProto()
    corrected.CopyFrom(quantised)
    tensors = {tensor.name: tensor for tensor in corrected.graph.initializer}
    makers = {node.output[0]: node for node in corrected.graph.node}
    # What a map is after rounding: a ReLU that stood behind a convolution is the lower end of its range.
    rounded = {
        n.input[0]: n.output[0] for n in corrected.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    convolutions = [node for node in corrected.graph.node if node.op_type == "Conv" and node.input[2] in makers]
    for node, wanted in zip(convolutions, means(floating, [n.output[0] for n in convolutions], crops), strict=True):
        integers = rounded.get(node.output[0], "")
        (found,) = means(corrected, [rounded.get(integers, node.output[0])], crops)
        bias, scale = (tensors[name] for name in makers[node.input[2]].input[:2])
        steps = np.rint((wanted - found) / numpy_helper.to_array(scale))
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + steps.astype(np.int32), bias.name))
    return corrected


def means(model: onnx.ModelProto, names: Sequence[str], crops: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """The mean of each channel of these maps, over the crops."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = ([maps.mean(axis=(0, 2, 3), dtype=float) for maps in session.run(names, {"crop": c[None]})] for c in crops)
    return [np.mean(of_crops, axis=0) for of_crops in zip(*runs, strict=True)]


def kept_nodes(names: Sequence[str], kept: Sequence[str]) -> list[str]:
    """The nodes of the parts to keep in float. Raises ModelError for a part that does not exist."""
    parts = {name.split(".")[0] for name in names if "." in name}
    unknown = sorted(set(kept) - parts)
    if unknown:
        raise ModelError(f"no part is called {', '.join(unknown)}; there are {', '.join(sorted(parts))}")
    return [name for name in names if _kept(name, kept)]


def store_as_fp16(model: onnx.ModelProto) -> None:
    """Keep float weights in 16 bits. The engine widens them once, when it loads: half the size, the same speed."""
    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        stored = numpy_helper.from_array(values.astype(np.float16), tensor.name + "_fp16")
        widen = onnx.helper.make_node("Cast", [stored.name], [tensor.name], f"widen_{tensor.name}", to=1)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(stored)
        model.graph.node.insert(0, widen)


def main(argv: Sequence[str] | None = None) -> int:
    if weight_network.asked_for(argv):
        return weight_network.main(argv)
    return cli.main(OnnxWriter(), argv)


if __name__ == "__main__":
    sys.exit(main())
