"""Convert a network to OpenVINO IR: `python converters/to_openvino.py --model NAME --weights FILE --output FILE.xml`.

Writes `FILE.xml` and its weights, `FILE.bin`. The graph is that of to_onnx.py, from uint8 crop to float32 taps; integer
precisions are made by NNCF.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder
if __name__ == "__main__":
    from converters.extras import need

    need("to_openvino", "convert-openvino", "torch", "onnx", "onnxscript", "scipy", "openvino", "nncf")

import numpy as np
import onnx
from numpy.typing import NDArray
from openvino.passes import ConstantFolding, Manager

from converters import cli, weight_network, weight_network_int8
from converters.plan import Graph, Network, Plan
from converters.to_onnx import export, for_quantisation, kept_nodes
from edge_tracker.backbones.base import METADATA_KEY
from edge_tracker.backbones.companion import Owner
from edge_tracker.backbones.ov import openvino
from edge_tracker.fmst.weight_files import weight_network_metadata
from edge_tracker.fmst.weight_network import WeightNetwork

CALIBRATION_CROPS = 200
INTEGERS = ("i8", "u8")


class OpenVinoWriter:
    """Writes `.xml` and `.bin` files for OpenVINO."""

    program = "to_openvino"
    engine = "openvino"
    suffix = ".xml"

    def write(self, network: Network, plan: Plan, path: Path) -> None:
        quantised = plan.quantised
        model = quantise(_read(for_quantisation(network, plan)), plan) if quantised else _read(export(network))
        for place in list(model.get_rt_info()):  # what the tools leave: versions, settings, paths
            del model.get_rt_info()[place]
        model.set_rt_info(network.info(plan.precision).to_metadata(), METADATA_KEY)
        openvino.save_model(model, path, compress_to_fp16=plan.precision == "fp16")
        path.write_bytes(compact(path.read_bytes()))

    def inspect(self, path: Path, plan: Plan) -> Graph:
        """The operations as the CPU plugin runs them here, after its own fusions.

        Foreign are dense convolutions that the file leaves in float unasked.
        """
        core = openvino.Core()
        model = core.read_model(path)
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        operations: Counter[str] = Counter()
        floating: Counter[str] = Counter()
        for node in core.compile_model(model, "CPU", settings).get_runtime_model().get_ordered_ops():
            kind, precision = (str(node.get_rt_info()[key].astype(str)) for key in ("layerType", "runtimePrecision"))
            if kind not in ("Input", "Output", "Const", "Parameter", "Result"):
                operations[kind] += 1
                floating[kind] += precision not in INTEGERS
        convolutions = [op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]
        foreign = [
            op.get_friendly_name()
            for op in convolutions
            if op.input_value(0).get_node().get_type_name() != "FakeQuantize"
            and op.get_friendly_name().split(".")[0] not in plan.kept_in_float
        ]
        return Graph(dict(operations), dict(+floating), foreign=tuple(foreign) if plan.quantised else ())


def compact(graph: bytes) -> bytes:
    """The text of an `.xml` without what only people and tools read: half of its bytes are left.

    Dropped: indentation, what each operation was fused from, the names of inner tensors and of all operations but
    convolutions (which are looked for by name), and inner shapes, which the engine infers anyway.
    """
    tree = ElementTree.fromstring(graph)
    ends = {layer.get("id") for layer in tree.iter("layer") if layer.get("type") == "Result"}
    given = {(e.get("from-layer"), e.get("from-port")) for e in tree.iter("edge") if e.get("to-layer") in ends}
    for layer in tree.iter("layer"):
        kind, number = layer.get("type"), layer.get("id")
        if kind not in ("Parameter", "Result", "Convolution", "GroupConvolution"):
            layer.set("name", f"n{number}")
        for info in layer.findall("rt_info"):
            layer.remove(info)
        for port in (*layer.iterfind("input/port"), *layer.iterfind("output/port")):
            for dim in port.findall("dim"):
                port.remove(dim)
        for port in layer.iterfind("input/port"):
            port.attrib.pop("precision", None)
        for port in layer.iterfind("output/port"):
            if kind != "Parameter" and (number, port.get("id")) not in given and "names" in port.attrib:
                del port.attrib["names"]
    for element in tree.iter():
        element.text = (element.text or "").strip() or None
        element.tail = None
    return bytes(ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True))


def _read(model: onnx.ModelProto) -> openvino.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        read = openvino.Core().read_model(path)
    # Shapes that are known are computed once, here: two thirds of the operations. Weights in integers are made later,
    # and must not be folded back into floats.
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(read)
    return read


def quantise(model: openvino.Model, plan: Plan) -> openvino.Model:
    """Post-training quantisation with accurate bias correction. Raises ModelError for an unknown part to keep.

    Depthwise convolutions stay in float: the CPU plugin computes them so whatever the file says, and then rounding
    their input is pure loss.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    names = [op.get_friendly_name() for op in model.get_ordered_ops()]
    kept = [op for op in model.get_ordered_ops() if op.get_friendly_name() in kept_nodes(names, plan.kept_in_float)]
    ignored = [op.get_friendly_name() for op in kept if op.get_type_name() != "Constant"]
    crops = plan.crops()[:CALIBRATION_CROPS]
    quantised: openvino.Model = nncf.quantize(
        model,
        nncf.Dataset(list(crops[:, None])),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(crops),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=ignored, types=["GroupConvolution"]),
    )
    return quantised


class OpenVinoNetworkWriter:
    """Writes weight networks in int8 as `.xml` and `.bin`."""

    program = "to_openvino"
    engine = "openvino"
    suffix = ".xml"

    def write(self, network: WeightNetwork, owner: Owner, inputs: NDArray[np.float32], path: Path) -> None:
        graph = _read(weight_network.to_onnx(network, owner))
        import nncf

        nncf.set_log_level(logging.ERROR)
        quantised = nncf.quantize(
            graph, nncf.Dataset(list(inputs)), preset=nncf.QuantizationPreset.MIXED, subset_size=len(inputs)
        )
        for key, value in weight_network_metadata(network, owner).items():
            quantised.set_rt_info(value, key)
        openvino.save_model(quantised, path, compress_to_fp16=False)

    def open(self, path: Path) -> Callable[[NDArray[np.float32]], weight_network_int8.Weights]:
        settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()

        def run(values: NDArray[np.float32]) -> weight_network_int8.Weights:
            found = request.infer([values])
            return found["positive"], found["negative"]

        return run


def main(argv: Sequence[str] | None = None) -> int:
    if weight_network.asked_for(argv):
        return weight_network_int8.main(OpenVinoNetworkWriter(), argv)
    return cli.main(OpenVinoWriter(), argv)


if __name__ == "__main__":
    sys.exit(main())
