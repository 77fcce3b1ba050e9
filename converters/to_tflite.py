"""Convert a network to TFLite: `python converters/to_tflite.py --model mobilenetv3-small --weights FILE --output FILE`.

`int8` is full integer: int8 weights, activations, inputs and outputs. Every tapped layer is an output (1, H, W, C) of
its own, so that each has its own scale; the engine puts a tap together. What the model is lies in a ZIP archive behind
it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder
if __name__ == "__main__":
    from converters.extras import need

    need("to_tflite", "convert-tflite", "torch", "onnx", "litert_torch", "ai_edge_quantizer", "ai_edge_litert")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

os.environ.setdefault("TQDM_DISABLE", "1")  # the quantiser's bars cannot be turned off otherwise
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe_manager
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName

from converters import cli, tflite_graph, weight_network, weight_network_int8
from converters.plan import Graph, Network, Plan
from converters.quiet import quiet
from converters.rewrites import (
    CropToTaps,
    equalise,
    floor_dead_channels,
    fold_batch_norm,
    fold_dead_squeeze_excite,
    normalised,
    pad_channels_last,
    split_hard_activations,
)
from converters.trunks import Trunk
from edge_tracker.backbones.companion import Owner
from edge_tracker.backbones.litert_engine import layer_outputs
from edge_tracker.errors import ModelError
from edge_tracker.fmst.weight_files import weight_network_metadata
from edge_tracker.fmst.weight_network import PARTS, WeightNetwork

RANGE_CROPS, BIAS_CROPS = 100, 24  # more change nothing


class TfliteWriter:
    """Writes `.tflite` files for LiteRT."""

    program = "to_tflite"
    engine = "litert"
    suffix = ".tflite"

    def write(self, network: Network, plan: Plan, path: Path) -> None:
        trunk = prepare(network, plan) if plan.quantised else fold_batch_norm(network.trunk)
        # Full integer takes int8, which the quantiser makes of a float input; the others take uint8 and widen it.
        model = export(network, trunk, torch.float32 if plan.precision == "int8" else torch.uint8)
        if plan.quantised:
            model = quantise(model, plan)
        elif plan.precision == "fp16":
            model = store_as_fp16(model)
        path.write_bytes(tflite_graph.with_metadata(model, network.info(plan.precision).to_metadata()))

    def inspect(self, path: Path, plan: Plan) -> Graph:
        every, floating, names = tflite_graph.operations(path.read_bytes())
        kept = () if plan.precision == "int8" else ("", *plan.kept_in_float)  # "": the preprocessing
        foreign = [name for name in names if (name.split(".")[0] if "." in name else "") not in kept]
        return Graph(
            dict(every), dict(floating), tflite_graph.partitions(path), tuple(foreign) if plan.quantised else ()
        )


def prepare(network: Network, plan: Plan) -> Trunk:
    """The trunk in the form that integers suit best."""
    x = normalised(plan.crops()[:RANGE_CROPS], network.spec)
    trunk = floor_dead_channels(fold_dead_squeeze_excite(fold_batch_norm(network.trunk), x))
    return equalise(split_hard_activations(trunk), x)


def export(network: Network, trunk: Trunk, input_type: torch.dtype) -> bytes:
    """The trunk as a float TFLite model from crop to layers, its tensors called after the blocks they belong to."""
    import litert_torch

    outputs = [name for tap in trunk.taps for name in layer_outputs(tap)]
    side = network.spec.input_side
    module = CropToTaps(pad_channels_last(trunk), network.spec, layers=True).eval()
    wrapped = litert_torch.to_channel_last_io(module, outputs=list(range(len(outputs))))
    with quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        litert_torch.convert(wrapped, (torch.zeros(1, side, side, 3, dtype=input_type),)).export(str(path))
        return tflite_graph.name_tensors(path.read_bytes(), outputs)


def quantise(model: bytes, plan: Plan) -> bytes:
    """Static quantisation to int8 with our own ranges, then bias correction. Raises ModelError for an unknown part."""
    recipe = recipe_manager.RecipeManager()
    recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    if plan.kept_in_float:
        known = {name.split(".")[0] for name in tflite_graph.operations(model)[2] if "." in name}
        unknown = sorted(set(plan.kept_in_float) - known)
        if unknown:
            raise ModelError(f"no part is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        # Nothing before the last part kept is worth integers either: that is the preprocessing.
        parts = "|".join([*(rf"{part}\." for part in plan.kept_in_float), "[A-Z]"])
        recipe.add_quantization_config(
            f"^({parts})", TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    crops = plan.crops()
    with quiet():
        worker = quantizer.Quantizer(model, recipe.get_quantization_recipe())
        batch = crops[:1].astype(np.float32 if plan.precision == "int8" else np.uint8)
        quantised = worker.quantize(calibrate(worker, model, {"crop": batch}, crops[:RANGE_CROPS])).quantized_model
    if quantised is None:
        raise ModelError("the quantiser gave no model")
    return tflite_graph.correct_biases(bytes(quantised), model, crops[:BIAS_CROPS])


def calibrate(
    worker: quantizer.Quantizer, model: bytes, first: dict[str, NDArray[Any]], inputs: NDArray[Any]
) -> dict[str, dict[str, Any]]:
    """The quantiser's table of ranges, made by it on the first input, with our own figures of all of them.

    Its own are moving averages of each input's extremes, which cut off more than outliers.
    """
    table: dict[str, dict[str, Any]] = worker.calibrate({"serving_default": [first]})
    for name, limits in tflite_graph.ranges(model, inputs).items():
        if table.get(name):
            for key, limit in zip(("min", "max"), limits, strict=True):
                table[name][key] = np.full(np.shape(table[name][key]), limit, np.float32)
    return table


def store_as_fp16(model: bytes) -> bytes:
    """Keep float weights in 16 bits; the delegate widens them when it loads."""
    recipe = recipe_manager.RecipeManager()
    recipe.add_weight_only_config(
        ".*", TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING
    )
    with quiet():
        stored = quantizer.Quantizer(model, recipe.get_quantization_recipe()).quantize().quantized_model
    if stored is None:
        raise ModelError("the quantiser gave no model")
    return bytes(stored)


class WeightNetworkModule(nn.Module):
    """A weight network in torch: graph inputs -> w_p (C,), w_n (C,), as converters/weight_network.py builds it."""

    def __init__(self, network: WeightNetwork) -> None:
        super().__init__()
        self.dense, self.adds_selected = network.form == "dense", network.base == "top"
        self.parts = nn.ModuleDict(
            {part: nn.Sequential(*_linear_layers(network.stack(part))) for part in PARTS[network.form]}
        )

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.dense:  # (2, C)
            positive, negative = self.parts["positive"](inputs[0:1]), self.parts["negative"](-inputs[0:1])
            selected = inputs[1:2]
        else:  # (C, 3 + layers)
            both = self.parts["shared"](inputs)
            positive, negative, selected = both[:, 0:1], both[:, 1:2], inputs[:, 1:2]
        if self.adds_selected:
            positive = positive + selected
        return nn.functional.relu6(positive).flatten(), nn.functional.relu6(negative).flatten()


def _linear_layers(stack: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for number, (weight, bias) in enumerate(stack):
        linear = nn.Linear(*weight.shape)
        linear.weight, linear.bias = (
            nn.Parameter(torch.from_numpy(weight.T.copy())),
            nn.Parameter(torch.from_numpy(bias)),
        )
        layers += [nn.ReLU(), linear] if number else [linear]
    return layers


class TfliteNetworkWriter:
    """Writes weight networks as full-integer `.tflite` files."""

    program = "to_tflite"
    engine = "litert"
    suffix = ".tflite"

    def write(self, network: WeightNetwork, owner: Owner, inputs: NDArray[np.float32], path: Path) -> None:
        import litert_torch

        module = WeightNetworkModule(network).eval()
        recipe = recipe_manager.RecipeManager()
        recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        with quiet():
            litert_torch.convert(module, (torch.from_numpy(inputs[0]),)).export(str(path))
            named = tflite_graph.name_tensors(path.read_bytes(), ["positive", "negative"], "inputs")
            worker = quantizer.Quantizer(named, recipe.get_quantization_recipe())
            table = calibrate(worker, named, {"inputs": inputs[0]}, inputs)
            quantised = worker.quantize(table).quantized_model
        if quantised is None:
            raise ModelError("the quantiser gave no model")
        whole = tflite_graph.pack(tflite_graph.unpack(bytes(quantised)))
        (text,) = weight_network_metadata(network, owner).values()
        path.write_bytes(tflite_graph.with_metadata(whole, text))

    def open(self, path: Path) -> Callable[[NDArray[np.float32]], weight_network_int8.Weights]:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        (taken,) = interpreter.get_input_details()
        given = {details["name"]: details for details in interpreter.get_output_details()}

        def run(values: NDArray[np.float32]) -> weight_network_int8.Weights:
            scale, zero_point = taken["quantization"]
            integers = np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8)
            interpreter.set_tensor(taken["index"], integers)
            interpreter.invoke()
            weights = []
            for name in ("positive", "negative"):
                scale_out, zero_out = given[name]["quantization"]
                found = interpreter.get_tensor(given[name]["index"]).astype(np.float32)
                weights.append((found - np.float32(zero_out)) * np.float32(scale_out))
            return weights[0], weights[1]

        return run


def main(argv: Sequence[str] | None = None) -> int:
    if weight_network.asked_for(argv):
        return weight_network_int8.main(TfliteNetworkWriter(), argv)
    return cli.main(TfliteWriter(), argv)


if __name__ == "__main__":
    sys.exit(main())
