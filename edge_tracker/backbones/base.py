"""What a backbone is: a crop goes in, feature maps come out, and it says how they lie over the crop."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import ConfigError, ModelError
from edge_tracker.settings import Between, check, from_json

METADATA_KEY = "edge_tracker"
HEIGHT, WIDTH = "height", "width"  # the names of the free sides of the crop in a `.onnx` file
MOST_THREADS = 64  # an engine starts as many as it is told
LARGEST_SIDE_PX, LARGEST_CHANNELS = 8192, 65_536  # what a file may state; memory is taken by it

# What a tap is for. "selection": deep channels that answer to objects, among which FMST selects.
# "localisation": shallower ones on a finer grid, which tell where the target ends.
Purpose = Literal["selection", "localisation"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

# "int8": integers throughout; "int8-mixed": but for the first layers; "fp16" is how weights are stored.
Precision = Literal["fp32", "fp16", "int8", "int8-mixed"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
# SHA-256, hex digits, of the trunk's float weights: converters/fingerprint.py.
Fingerprint = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Side = Annotated[int, Between(1, LARGEST_SIDE_PX)]


@dataclass(frozen=True)
class EngineOptions:
    """How a model file is loaded. Raises ConfigError for what does not exist or is out of range."""

    engine: Annotated[Name, "what runs the model: auto or one of backbones.engines.ENGINES"] = "auto"
    threads: Annotated[int, Between(1, MOST_THREADS), "threads of the engine"] = 1
    device: Annotated[Literal["cpu", "cuda"], "where it runs; cuda: ONNX Runtime alone, the processor if absent"] = (
        "cpu"
    )
    taps: Annotated[tuple[Purpose, ...], "the features wanted, by purpose; each costs time"] = ("selection",)
    height: Annotated[Side, "of the crop, pixels; a multiple of the largest stride"] = 224
    width: Annotated[Side, "of the crop, pixels; a multiple of the largest stride"] = 224
    deferred: Annotated[bool, "an engine that can project its taps itself loads the file when it is first used"] = False

    def __post_init__(self) -> None:
        check(self)
        if not self.taps or len(set(self.taps)) < len(self.taps):
            raise ConfigError(f"taps are different ones of {', '.join(PURPOSES)}, not {self.taps}")


@dataclass(frozen=True)
class Layer:
    """One tapped layer: a run of channels inside a tap."""

    name: Name
    channels: Annotated[int, Between(1, LARGEST_CHANNELS)]

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Tap:
    """One output of a backbone: the tapped layers of one stride, concatenated in the channel direction."""

    name: Name
    stride: Annotated[int, Between(1, 1024), "crop pixels from one cell to the next"]
    layers: tuple[Layer, ...]
    purpose: Purpose = "selection"
    receptive_offset_px: Annotated[
        float, Between(-4096, 4096), "centre of a cell's receptive field minus centre of the cell, crop pixels"
    ] = 0.0

    def __post_init__(self) -> None:
        check(self)
        if not 1 <= len(self.layers) <= 64:
            raise ConfigError(f"a tap has 1 to 64 layers, not {len(self.layers)}")

    @property
    def channels(self) -> int:
        return sum(layer.channels for layer in self.layers)


@dataclass(frozen=True)
class BackboneInfo:
    """What a model file states about itself, kept in its metadata so that a file needs no companion."""

    model: Name
    height: Annotated[Side, "of the crop, pixels; in a file, what it was made for"]
    width: Side
    taps: tuple[Tap, ...]
    fingerprint: Fingerprint
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check(self)
        names = [tap.name for tap in self.taps]
        if not 1 <= len(names) <= 64 or len(set(names)) < len(names):
            raise ConfigError(f"taps are 1 to 64 of different names, not {', '.join(names) or 'none'}")

    @property
    def input_side(self) -> int:
        """Side of a square crop, pixels. Raises ConfigError where the crop is not square."""
        if self.height != self.width:
            raise ConfigError(f"{self.model} was loaded for crops of {self.height} x {self.width} px, not for squares")
        return self.height

    def to_metadata(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: object) -> BackboneInfo:
        """Parse the metadata of the model file at `path`. Raises ModelError where it is absent or malformed."""
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise ModelError(f"{path} was not made by converters/: it does not state its taps")
        try:
            return from_json(cls, text, str(path))
        except ConfigError as error:
            raise ModelError(f"{error}: convert the model again with this version's converters/") from error

    def at(self, height: int, width: int, path: object) -> BackboneInfo:
        """The same for crops of another size. Raises ModelError where the taps' strides forbid it."""
        if any(side % tap.stride for tap in self.taps for side in (height, width)):
            largest = max(tap.stride for tap in self.taps)
            raise ModelError(f"{path} takes crops of a multiple of {largest} px, not {height} x {width}")
        return replace(self, height=height, width=width)

    def only(self, purposes: Sequence[Purpose], path: object) -> BackboneInfo:
        """The same with the taps of these purposes alone, in the order of `purposes`, the finest first within one:
        in what order a file has them does not matter. Raises ModelError where a purpose has none."""
        missing = [purpose for purpose in purposes if all(tap.purpose != purpose for tap in self.taps)]
        if missing:
            have = ", ".join(sorted({tap.purpose for tap in self.taps}))
            raise ModelError(
                f"{path} has no tap for {' and '.join(missing)}, only for {have}: convert the model again, or use "
                "--tracker fmst"
            )
        wanted = [tap for tap in self.taps if tap.purpose in purposes]
        wanted.sort(key=lambda tap: (purposes.index(tap.purpose), tap.stride, tap.name))
        return replace(self, taps=tuple(wanted))

    def place_of(self, purpose: Purpose) -> int:
        """Which of the taps serves `purpose`. Raises ModelError where none or several do."""
        places = [place for place, tap in enumerate(self.taps) if tap.purpose == purpose]
        if len(places) != 1:
            raise ModelError(f"{self.model} has {len(places)} taps for {purpose}; this tracker needs one")
        return places[0]

    def tap(self, purpose: Purpose) -> Tap:
        """The tap that serves `purpose`. Raises ModelError where none or several do."""
        return self.taps[self.place_of(purpose)]


class Projection(NamedTuple):
    """Of one tap: features @ directions - offset."""

    directions: NDArray[np.float32]  # (C, D), most telling directions first
    offset: NDArray[np.float32]  # (D,)

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W, C) -> (H, W, D)."""
        height, width, channels = features.shape
        projected: NDArray[np.float32] = features.reshape(-1, channels) @ self.directions
        projected -= self.offset
        return projected.reshape(height, width, -1)

    def first(self, count: int) -> Projection:
        """The same with its first `count` directions alone, contiguous."""
        return Projection(np.ascontiguousarray(self.directions[:, :count]), self.offset[:count].copy())


Features = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]  # crop -> features (H, W, D) of each tap asked for


class Backbone(Protocol):
    """A feature extractor. Input is the raw crop: colour order and normalisation live inside the model."""

    @property
    def info(self) -> BackboneInfo: ...

    def __call__(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """crop (height, width, 3) uint8 BGR -> per tap features (H, W, C) float32, in the order of `info.taps`."""
        ...


def check_outputs(info: BackboneInfo, found: Mapping[str, Sequence[object]], path: object) -> None:
    """Compare a model's outputs, name -> (1, C, H, W), with what it states. Raises ModelError."""
    for tap in info.taps:
        expected = [1, tap.channels, info.height // tap.stride, info.width // tap.stride]
        if tap.name not in found:
            raise ModelError(f"{path} has outputs {sorted(found)}, but states a tap '{tap.name}'")
        if list(found[tap.name]) != expected:
            raise ModelError(f"{path}: tap '{tap.name}' has shape {list(found[tap.name])}, expected {expected}")


@runtime_checkable
class Projecting(Protocol):
    """A backbone whose engine can project its taps itself."""

    def projected(self, projections: Mapping[str, Projection]) -> Features: ...


def projected(backbone: Backbone, projections: Mapping[str, Projection]) -> Features:
    """The taps of these names, projected; in the engine where that can do it."""
    if isinstance(backbone, Projecting):
        return backbone.projected(projections)
    places = {tap.name: place for place, tap in enumerate(backbone.info.taps)}

    def features(crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        maps = backbone(crop)
        return [project(maps[places[name]]) for name, project in projections.items()]

    return features
