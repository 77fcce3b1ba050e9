"""Files of weight networks: safetensors, bound to the backbone they were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from edge_tracker.backbones.base import LARGEST_CHANNELS, BackboneInfo
from edge_tracker.backbones.companion import Owner, check_belongs, read_companion, stated_metadata, write_companion
from edge_tracker.errors import ModelError, first_line
from edge_tracker.fmst.weight_network import WeightNetwork
from edge_tracker.settings import Between

WHAT = "weight network"
LARGEST_BYTES = 64 << 20  # twice a dense network of 1,824 channels with 2,000 hidden units


@dataclass(frozen=True)
class Stated(Owner):
    """What the file of a weight network states beside its backbone; see `WeightNetwork`."""

    layers: tuple[Annotated[int, Between(1, LARGEST_CHANNELS)], ...]
    form: Literal["dense", "shared"]
    base: Literal["none", "top"]
    fraction: Annotated[float, Between(0, 1, above=True)]
    alpha: Annotated[float, Between(0, 10)]


def load_weight_network(path: Path, backbone: BackboneInfo) -> WeightNetwork:
    """The network at `path` for `backbone`. Raises ModelError as `read_weight_network` does, and if the network was
    trained on another backbone."""
    network, owner = read_weight_network(path)
    check_belongs(owner, backbone, path, WHAT)
    if network.layers != selection_layers(backbone):
        raise ModelError(
            f"the weight network {path} is for layers of {'+'.join(map(str, network.layers))} channels, not of "
            f"{'+'.join(map(str, selection_layers(backbone)))}"
        )
    return network


def read_weight_network(path: Path) -> tuple[WeightNetwork, Owner]:
    """Read a network and the backbone it belongs to. Raises ModelError if there is no such file, or if it is not
    safetensors, too large, or has shapes that do not fit."""
    stated, tensors = read_companion(path, WHAT, Stated, LARGEST_BYTES)
    arrays = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    try:
        network = WeightNetwork(stated.form, stated.base, stated.fraction, stated.alpha, stated.layers, arrays)
    except ValueError as error:
        raise ModelError(f"{path} is no weight network: {first_line(error)}") from error
    return network, Owner(stated.model, stated.fingerprint)


def save_weight_network(path: Path, network: WeightNetwork, owner: Owner) -> None:
    """Write a network trained on the backbone `owner`: float16, completely or not at all. Raises OutputError."""
    tensors = {name: tensor.astype(np.float16) for name, tensor in network.tensors.items()}
    write_companion(path, WHAT, _stated(network, owner), tensors)


def weight_network_metadata(network: WeightNetwork, owner: Owner) -> dict[str, str]:
    """The metadata of the file of a network trained on the backbone `owner`."""
    return stated_metadata(WHAT, _stated(network, owner))


def _stated(network: WeightNetwork, owner: Owner) -> Stated:
    form: Any = network.form
    base: Any = network.base
    return Stated(owner.model, owner.fingerprint, network.layers, form, base, network.fraction, network.alpha)


def selection_layers(backbone: BackboneInfo) -> tuple[int, ...]:
    """Number of channels of each layer that FMST selects from. Raises ModelError if the backbone has none or
    several such taps."""
    return tuple(layer.channels for layer in backbone.tap("selection").layers)
