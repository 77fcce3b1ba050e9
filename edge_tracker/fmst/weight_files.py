"""Files of weight networks: safetensors, read with suspicion and bound to the backbone they were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edge_tracker.backbones.base import METADATA_KEY, BackboneInfo
from edge_tracker.errors import ModelError, OutputError, first_line
from edge_tracker.fmst.weight_network import WeightNetwork

LARGEST_BYTES = 64 << 20  # a dense network of 1,824 channels with 2,000 hidden units is half of that


def load_weight_network(path: Path, backbone: BackboneInfo) -> WeightNetwork:
    """The network at `path` for `backbone`. Raises ModelError as `read_weight_network` does, and where it was trained
    on another backbone."""
    network, model = read_weight_network(path)
    if (model, network.layers) != (backbone.model, selection_layers(backbone)):
        raise ModelError(
            f"{path} was trained on {model} with layers of {'+'.join(map(str, network.layers))} channels, not on "
            f"{backbone.model} with {'+'.join(map(str, selection_layers(backbone)))}"
        )
    return network


def read_weight_network(path: Path) -> tuple[WeightNetwork, str]:
    """Read a network and the name of the backbone it was trained on. Raises ModelError: no such file, not safetensors,
    too large, shapes that do not fit.

    Tensors are stored as float16 or float32; the metadata states form, base, fraction, alpha, the backbone and its
    layers.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ModelError(f"{path} has {path.stat().st_size} bytes, more than any weight network")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        reason = first_line(error)
        raise ModelError(f"cannot read the weight network {path}: {reason}") from error
    try:
        stated = json.loads(metadata[METADATA_KEY])
        model, layers = str(stated["model"]), tuple(int(channels) for channels in stated["layers"])
        form, base = str(stated["form"]), str(stated["base"])
        fraction, alpha = float(stated["fraction"]), float(stated["alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} does not state what weight network it is: {error!r}") from error
    for name, tensor in stored.items():
        if tensor.dtype not in (np.float16, np.float32):
            raise ModelError(f"{path}: {name} is {tensor.dtype}, not float16 or float32")
    try:
        tensors = {name: tensor.astype(np.float32) for name, tensor in stored.items()}
        return WeightNetwork(form, base, fraction, alpha, layers, tensors), model
    except ValueError as error:
        raise ModelError(f"{path} is no weight network: {error}") from error


def save_weight_network(path: Path, network: WeightNetwork, model: str) -> None:
    """Write a network trained on the backbone called `model`: float16, all or nothing. Raises OutputError."""
    tensors = {name: tensor.astype(np.float16) for name, tensor in network.tensors.items()}
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(save(tensors, weight_network_metadata(network, model)))
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def weight_network_metadata(network: WeightNetwork, model: str) -> dict[str, str]:
    """The metadata of the file of a network trained on the backbone called `model`."""
    stated = {
        "model": model,
        "layers": network.layers,
        "form": network.form,
        "base": network.base,
        "fraction": network.fraction,
        "alpha": network.alpha,
    }
    return {METADATA_KEY: json.dumps(stated)}


def selection_layers(backbone: BackboneInfo) -> tuple[int, ...]:
    """Channels of each layer FMST selects from. Raises ModelError where they lie in more than one tap: the scores of
    two strides are no one vector."""
    taps = [tap for tap in backbone.taps if tap.purpose == "selection"]
    if len(taps) != 1:
        raise ModelError(f"{backbone.model} has {len(taps)} taps for selection; a weight network needs one")
    return tuple(layer.channels for layer in taps[0].layers)
