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

import numpy as np
import onnx
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from converters import command, weight_network, weight_network_int8
from converters.to_onnx import export, for_quantisation, kept_nodes
from converters.types import Graph, Network, Plan
from edge_tracker.backbones.base import METADATA_KEY
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
        if plan.quantised:
            model = quantise(_read(for_quantisation(network, plan.crops())), plan)
        else:
            model = _read(export(network.name, network.trunk))
        for place in list(model.get_rt_info()):  # what the tools leave: versions, settings, paths
            del model.get_rt_info()[place]
        model.set_rt_info(network.info(plan.precision).to_metadata(), METADATA_KEY)
        openvino.save_model(model, path, compress_to_fp16=plan.precision == "fp16")

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


def _read(model: onnx.ModelProto) -> openvino.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return openvino.Core().read_model(path)


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

    def write(self, network: WeightNetwork, model: str, inputs: NDArray[np.float32], path: Path) -> None:
        graph = _read(weight_network.to_onnx(network, model))
        import nncf

        nncf.set_log_level(logging.ERROR)
        quantised = nncf.quantize(
            graph, nncf.Dataset(list(inputs)), preset=nncf.QuantizationPreset.MIXED, subset_size=len(inputs)
        )
        for key, value in weight_network_metadata(network, model).items():
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
    return command.main(OpenVinoWriter(), argv)


if __name__ == "__main__":
    sys.exit(main())
