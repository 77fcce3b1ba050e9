"""LiteRT (TensorFlow Lite) as a backbone engine: `.tflite` files, float or integer."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:  # the runtime's former name, which old Raspberry Pi images have
    from tflite_runtime.interpreter import Interpreter

from edge_tracker.backbones.base import INPUT_SIDE, METADATA_KEY, BackboneInfo, Tap
from edge_tracker.errors import ModelError
from edge_tracker.recognise import mistaken, why_no_model

METADATA_FILE = f"{METADATA_KEY}.json"  # inside the .tflite file, which is a ZIP archive too


@dataclass(frozen=True)
class _Layer:
    """Where one layer of a tap comes from and where in the tap it goes."""

    tensor: int
    channels: slice
    scale: float  # value = (integer - zero point) * scale; 0 for a float tensor
    zero_point: int


class LiteRtBackbone:
    """A `.tflite` file made by converters/, run on the CPU. Gives the taps of `purposes` of crops of `side` pixels.

    Every layer is an output of its own, so that each has its own scale. Raises ModelError where the file cannot be
    used.
    """

    def __init__(
        self, path: Path, threads: int = 1, purposes: Collection[str] = ("selection",), side: int = INPUT_SIDE
    ) -> None:
        info = BackboneInfo.from_metadata(read_metadata(path), path).at(side, path)
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            if len(inputs := self._interpreter.get_input_details()) == 1:
                self._interpreter.resize_tensor_input(inputs[0]["index"], [1, side, side, 3])
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = why_no_model(path, error)
            raise ModelError(f"LiteRT cannot load {path}: {reason}") from error
        self.info = info.only(purposes, path)
        self._input, self._signed = _input_of(self._interpreter, info, path)
        outputs = {details["name"]: details for details in self._interpreter.get_output_details()}
        _check_layers(info, outputs, path)
        self._layers = [_layers_of(tap, outputs) for tap in self.info.taps]

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        batch = crop[None]
        # int8 with zero point -128 is uint8 with its highest bit turned: no copy in float.
        self._interpreter.set_tensor(self._input, (batch ^ 0x80).view(np.int8) if self._signed else batch)
        self._interpreter.invoke()
        return [self._gather(tap, layers) for tap, layers in zip(self.info.taps, self._layers, strict=True)]

    def _gather(self, tap: Tap, layers: list[_Layer]) -> NDArray[np.float32]:
        side = self.info.input_side // tap.stride
        features = np.empty((side, side, tap.channels), np.float32)
        for layer in layers:
            values = self._interpreter.get_tensor(layer.tensor)[0]
            part = features[..., layer.channels]
            if layer.scale:
                np.multiply(values, np.float32(layer.scale), out=part)
                part -= np.float32(layer.scale * layer.zero_point)
            else:
                part[:] = values
        return features


def layer_outputs(tap: Tap) -> list[str]:
    """The names of a tap's outputs in a `.tflite` file, one per layer."""
    return [f"{tap.name}/{layer.name}" for layer in tap.layers]


def read_metadata(path: Path) -> dict[str, str]:
    """What a `.tflite` file states: as TFLite's own metadata does, it lies in a ZIP archive behind the model."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {METADATA_KEY: archive.read(METADATA_FILE).decode()}
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError):
        if reason := mistaken(path):
            raise ModelError(f"LiteRT cannot load {path}: {reason}") from None
        return {}
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error


def _input_of(interpreter: Interpreter, info: BackboneInfo, path: Path) -> tuple[int, bool]:
    """The index of the crop's tensor, and whether it takes the crop as int8."""
    side = info.input_side
    (details, *more) = interpreter.get_input_details()
    dtype, shape = details["dtype"], details["shape"].tolist()
    signed = dtype == np.int8 and tuple(details["quantization"]) == (1.0, -128)
    if more or shape != [1, side, side, 3] or not (dtype == np.uint8 or signed):
        raise ModelError(f"{path} takes {shape} {np.dtype(dtype)}, not one uint8 crop [1, {side}, {side}, 3]")
    return int(details["index"]), signed


def _check_layers(info: BackboneInfo, outputs: dict[str, dict[str, Any]], path: Path) -> None:
    for tap in info.taps:
        side = info.input_side // tap.stride
        for name, layer in zip(layer_outputs(tap), tap.layers, strict=True):
            if name not in outputs:
                raise ModelError(f"{path} has outputs {sorted(outputs)}, but states a layer '{name}'")
            shape, dtype = outputs[name]["shape"].tolist(), outputs[name]["dtype"]
            if shape != [1, side, side, layer.channels] or dtype not in (np.int8, np.float32):
                expected = [1, side, side, layer.channels]
                raise ModelError(f"{path}: '{name}' is {shape} {np.dtype(dtype)}, expected {expected} int8 or float32")


def _layers_of(tap: Tap, outputs: dict[str, dict[str, Any]]) -> list[_Layer]:
    layers = []
    start = 0
    for name, layer in zip(layer_outputs(tap), tap.layers, strict=True):
        details = outputs[name]
        scale, zero_point = details["quantization"] if details["dtype"] == np.int8 else (0.0, 0)
        layers.append(_Layer(int(details["index"]), slice(start, start + layer.channels), scale, zero_point))
        start += layer.channels
    return layers
