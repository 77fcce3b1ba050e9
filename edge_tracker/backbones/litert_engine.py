"""LiteRT (TensorFlow Lite) as a backbone engine: `.tflite` files, float or integer."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:  # the runtime's former name, which old Raspberry Pi images have
    from tflite_runtime.interpreter import Interpreter

from edge_tracker.backbones.base import METADATA_KEY, BackboneInfo, EngineOptions, Tap
from edge_tracker.errors import ModelError
from edge_tracker.recognise import mistaken, why_no_model

LARGEST_METADATA = 1 << 20  # bytes
METADATA_FILE = f"{METADATA_KEY}.json"  # inside the .tflite file, which is a ZIP archive too


@dataclass(frozen=True)
class _Layer:
    """Where one layer of a tap comes from and where in the tap it goes."""

    tensor: int
    channels: slice
    scale: float  # value = (integer - zero point) * scale; 0 for a float tensor
    zero_point: int


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep LiteRT's word of its delegate off the terminal: it writes past Python, to file descriptor 2."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class LiteRtBackbone:
    """A `.tflite` file made by converters/, run on the CPU. Every layer is an output of its own, so that each has its
    own scale. Raises ModelError where the file cannot be used.
    """

    def __init__(self, path: Path, options: EngineOptions) -> None:
        height, width = options.height, options.width
        info = BackboneInfo.from_metadata(read_metadata(path), path).at(height, width, path)
        try:
            with _quiet():
                self._interpreter = Interpreter(model_path=str(path), num_threads=options.threads)
                if len(inputs := self._interpreter.get_input_details()) == 1:
                    self._interpreter.resize_tensor_input(inputs[0]["index"], [1, height, width, 3])
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"LiteRT cannot load {path}: {why_no_model(path, error)}") from error
        self._input, self._signed = _input_of(self._interpreter, info, path)
        outputs = {details["name"]: details for details in self._interpreter.get_output_details()}
        _check_layers(info, outputs, path)
        self.info = info.only(options.taps, path)
        self._layers = [_layers_of(tap, outputs) for tap in self.info.taps]

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        batch = crop[None]
        # int8 with zero point -128 is uint8 with its highest bit turned: no copy in float.
        self._interpreter.set_tensor(self._input, (batch ^ 0x80).view(np.int8) if self._signed else batch)
        self._interpreter.invoke()
        return [self._gather(tap, layers) for tap, layers in zip(self.info.taps, self._layers, strict=True)]

    def _gather(self, tap: Tap, layers: list[_Layer]) -> NDArray[np.float32]:
        height, width = self.info.height // tap.stride, self.info.width // tap.stride
        features = np.empty((height, width, tap.channels), np.float32)
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
        with zipfile.ZipFile(path) as archive, archive.open(METADATA_FILE) as file:
            stated = file.read(LARGEST_METADATA + 1)  # not more than that is ever inflated
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError, RuntimeError, NotImplementedError):
        if reason := mistaken(path):
            raise ModelError(f"LiteRT cannot load {path}: {reason}") from None
        return {}  # no archive, or a broken, encrypted or strangely packed one
    if len(stated) > LARGEST_METADATA:
        raise ModelError(f"{path} states more than {LARGEST_METADATA} bytes about itself")
    try:
        return {METADATA_KEY: stated.decode()}
    except UnicodeDecodeError:
        return {}


def _input_of(interpreter: Interpreter, info: BackboneInfo, path: Path) -> tuple[int, bool]:
    """The index of the crop's tensor, and whether it takes the crop as int8."""
    expected = [1, info.height, info.width, 3]
    inputs = interpreter.get_input_details()
    if len(inputs) != 1:
        raise ModelError(f"{path} takes {len(inputs)} inputs, not one uint8 crop {expected}")
    details = inputs[0]
    dtype, shape = details["dtype"], details["shape"].tolist()
    signed = dtype == np.int8 and tuple(details["quantization"]) == (1.0, -128)
    if shape != expected or not (dtype == np.uint8 or signed):
        raise ModelError(f"{path} takes {shape} {np.dtype(dtype)}, not one uint8 crop {expected}")
    return int(details["index"]), signed


def _check_layers(info: BackboneInfo, outputs: dict[str, dict[str, Any]], path: Path) -> None:
    for tap in info.taps:
        for name, layer in zip(layer_outputs(tap), tap.layers, strict=True):
            if name not in outputs:
                raise ModelError(f"{path} has outputs {sorted(outputs)}, but states a layer '{name}'")
            shape, dtype = outputs[name]["shape"].tolist(), outputs[name]["dtype"]
            expected = [1, info.height // tap.stride, info.width // tap.stride, layer.channels]
            if shape != expected or dtype not in (np.int8, np.float32):
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
