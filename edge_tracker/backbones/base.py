"""What a backbone is: a crop goes in, feature maps come out, and it says how they lie over the crop."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import ModelError

METADATA_KEY = "edge_tracker"
INPUT_SIDE = 224  # pixels, of the crop, where nothing else is asked for
SIDE = "side"  # the name of a free side of the crop in a `.onnx` file

# What a tap is for. "selection": deep channels that answer to objects, among which FMST selects.
# "localisation": shallower ones on a finer grid, with which the correlation filter places the target.
PURPOSES = ("selection", "localisation")

# "int8": integers throughout; "int8-mixed": but for the first layers; "fp16" is how weights are stored.
PRECISIONS = ("fp32", "fp16", "int8", "int8-mixed")


@dataclass(frozen=True)
class Layer:
    """One tapped layer: a run of channels inside a tap."""

    name: str
    channels: int


@dataclass(frozen=True)
class Tap:
    """One output of a backbone: the tapped layers of one stride, concatenated in the channel direction."""

    name: str
    stride: int  # crop pixels from one cell to the next
    layers: tuple[Layer, ...]
    purpose: str = "selection"  # one of PURPOSES
    receptive_offset_px: float = 0.0  # centre of a cell's receptive field minus centre of the cell; crop pixels

    @property
    def channels(self) -> int:
        return sum(layer.channels for layer in self.layers)


@dataclass(frozen=True)
class BackboneInfo:
    """What a model file states about itself, kept in its metadata so that a file needs no companion."""

    model: str
    input_side: int  # pixels; the crop is square; in a file, the side it was made for
    taps: tuple[Tap, ...]
    precision: str = "fp32"  # one of PRECISIONS; a file that does not state it is fp32

    def to_metadata(self) -> str:
        taps = [
            {
                "name": tap.name,
                "stride": tap.stride,
                "purpose": tap.purpose,
                "receptive_offset_px": tap.receptive_offset_px,
                "layers": [[layer.name, layer.channels] for layer in tap.layers],
            }
            for tap in self.taps
        ]
        precision = {} if self.precision == "fp32" else {"precision": self.precision}
        return json.dumps({"model": self.model, "input_side": self.input_side, "taps": taps, **precision})

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: object) -> BackboneInfo:
        """Parse the metadata of the model file at `path`. Raises ModelError where it is absent or malformed."""
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise ModelError(f"{path} was not made by converters/: it does not state its taps")
        try:
            data = json.loads(text)
            taps = tuple(
                Tap(
                    name=str(tap["name"]),
                    stride=int(tap["stride"]),
                    layers=tuple(Layer(str(name), int(channels)) for name, channels in tap["layers"]),
                    purpose=str(tap["purpose"]),
                    receptive_offset_px=float(tap["receptive_offset_px"]),
                )
                for tap in data["taps"]
            )
            precision = str(data.get("precision", "fp32"))
            info = cls(model=str(data["model"]), input_side=int(data["input_side"]), taps=taps, precision=precision)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} states its taps in a form this version cannot read: {error!r}") from error
        usable = all(tap.stride >= 1 and tap.purpose in PURPOSES for tap in info.taps)
        if not info.taps or info.input_side < 1 or info.precision not in PRECISIONS or not usable:
            raise ModelError(f"{path} states no usable taps")
        return info

    def at(self, side: int, path: object) -> BackboneInfo:
        """The same for crops of another side. Raises ModelError where the taps' strides forbid it."""
        if any(side % tap.stride for tap in self.taps):
            raise ModelError(f"{path} takes crops of a multiple of {max(t.stride for t in self.taps)} px, not {side}")
        return replace(self, input_side=side)

    def only(self, purposes: Collection[str], path: object) -> BackboneInfo:
        """The same with the taps of these purposes alone. Raises ModelError where a purpose has none."""
        missing = set(purposes) - {tap.purpose for tap in self.taps}
        if missing:
            raise ModelError(f"{path} has no tap for {' and '.join(sorted(missing))}")
        return replace(self, taps=tuple(tap for tap in self.taps if tap.purpose in purposes))


class Backbone(Protocol):
    """A feature extractor. Input is the raw crop: colour order and normalisation live inside the model."""

    @property
    def info(self) -> BackboneInfo: ...

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """crop (side, side, 3) uint8 BGR -> per tap features (H, W, C) float32, in the order of `info.taps`."""
        ...


def check_outputs(info: BackboneInfo, found: Mapping[str, Sequence[object]], path: object) -> None:
    """Compare a model's outputs, name -> (1, C, H, W), with what it states. Raises ModelError."""
    for tap in info.taps:
        side = info.input_side // tap.stride
        expected = [1, tap.channels, side, side]
        if tap.name not in found:
            raise ModelError(f"{path} has outputs {sorted(found)}, but states a tap '{tap.name}'")
        if list(found[tap.name]) != expected:
            raise ModelError(f"{path}: tap '{tap.name}' has shape {list(found[tap.name])}, expected {expected}")
