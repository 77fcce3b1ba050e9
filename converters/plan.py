"""What a converter is asked to do, and what every writer offers: the words that command, gates and writers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters.fingerprint import of_trunk
from converters.trunks import Trunk, TrunkSpec
from edge_tracker.backbones.base import BackboneInfo, Precision

# What int8-mixed leaves in float. A name is "stem" or "block<n>", blocks counted from 1 as in the paper.
KEPT_IN_FLOAT = ("stem", "block1")


@dataclass(frozen=True)
class Network:
    """A trained trunk by its catalogue name."""

    name: str
    trunk: Trunk
    spec: TrunkSpec

    @cached_property
    def fingerprint(self) -> str:
        return of_trunk(self.trunk, self.spec)

    def info(self, precision: Precision) -> BackboneInfo:
        side = self.spec.input_side
        return BackboneInfo(self.name, side, side, self.trunk.taps, self.fingerprint, precision)


@dataclass(frozen=True)
class Plan:
    """How to convert. calibration: crops uint8 (N, S, S, 3), None where the precision needs none."""

    precision: Precision
    calibration: NDArray[np.uint8] | None = None
    kept_in_float: tuple[str, ...] = ()

    @property
    def quantised(self) -> bool:
        return self.precision.startswith("int8")

    def crops(self) -> NDArray[np.uint8]:
        """The calibration crops. The command line sees to it that an integer precision has some."""
        assert self.calibration is not None
        return self.calibration


@dataclass(frozen=True)
class Graph:
    """What a written file computes with. `floating`: those of its operations that compute in float, by kind."""

    operations: Mapping[str, int]
    floating: Mapping[str, int]
    partitions: int | None = None  # that TFLite's delegate takes; more than one means copies between them
    foreign: tuple[str, ...] = ()  # operations in float that the plan did not ask for, by name


class Writer(Protocol):
    """One target: an entry script's side of the work."""

    program: str  # the script's name, for messages
    engine: str  # what runs its files
    suffix: str

    def write(self, network: Network, plan: Plan, path: Path) -> None:
        """Write the network to `path`. Raises ModelError."""
        ...

    def inspect(self, path: Path, plan: Plan) -> Graph:
        """Look into a written file."""
        ...
