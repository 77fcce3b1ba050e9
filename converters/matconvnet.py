"""Read conv1 to conv3 of VGG-M from MatConvNet's official file, imagenet-vgg-m.mat; nothing in it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_tracker.errors import ModelError, first_line

CONVOLUTIONS = {"features.0": (7, 7, 3, 96), "features.4": (5, 5, 96, 256), "features.8": (3, 3, 256, 512)}
NORMALISATION = 5.0, 2.0, 1e-4, 0.75  # channels, kappa, alpha, beta: what trunks.VggM computes


def read_vgg_m(path: Path, mean_rgb: tuple[float, float, float]) -> dict[str, Tensor]:
    """The state of `trunks.VggM`, whose input is RGB in 0..255 less `mean_rgb`.

    Filters are (height, width, in, out) in the file, (out, in, height, width) here. The file states the mean that is to
    be subtracted; what that differs by goes into conv1's bias. Raises ModelError where the file is not such a network.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ModelError(f"reading {path} takes SciPy: pip install 'edge-tracker[convert-onnx]'") from error
    try:
        content = loadmat(str(path), struct_as_record=False, squeeze_me=True)
    except Exception as error:  # SciPy raises many kinds
        raise ModelError(f"cannot read {path}: {first_line(error)}") from error
    net = content.get("net")
    owner = net if net is not None else content  # older files have the fields at the top
    layers = np.atleast_1d(_field(owner, "layers", path))
    convolutions = [layer for layer in layers if _text(layer, "type") == "conv"][: len(CONVOLUTIONS)]
    if len(convolutions) < len(CONVOLUTIONS):
        raise ModelError(f"{path} has {len(convolutions)} convolutions, VGG-M has {len(CONVOLUTIONS)} before the fc")
    for layer in layers:
        if _text(layer, "type") in ("normalize", "lrn"):
            found = tuple(float(v) for v in np.ravel(getattr(layer, "param", ())))
            if len(found) != len(NORMALISATION) or not np.allclose(found, NORMALISATION):
                raise ModelError(f"{path} normalises by {found}, VGG-M by {NORMALISATION}")
    state = {}
    for (name, shape), layer in zip(CONVOLUTIONS.items(), convolutions, strict=True):
        filters, biases = _weights(layer, path)
        if filters.shape != shape or biases.size != shape[-1]:
            raise ModelError(f"{path}: a convolution has the shape {filters.shape}, VGG-M {shape}")
        state[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(filters.transpose(3, 2, 0, 1)))
        state[f"{name}.bias"] = torch.from_numpy(biases.reshape(-1).copy())
    stated = _mean(owner, path)
    if stated is not None:
        offset = torch.tensor(np.asarray(mean_rgb, np.float32) - stated)
        state["features.0.bias"] += torch.einsum("oihw,i->o", state["features.0.weight"], offset)
    return state


def _field(owner: Any, name: str, path: Path) -> Any:
    value = owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None)
    if value is None:
        raise ModelError(f"{path} has no '{name}': it is no MatConvNet network")
    return value


def _text(layer: Any, name: str) -> str:
    return str(getattr(layer, name, ""))


def _weights(layer: Any, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Filters and biases: one cell of both in newer files, a field each in older ones."""
    both = getattr(layer, "weights", None)
    parts = both if both is not None else (getattr(layer, "filters", None), getattr(layer, "biases", None))
    try:
        filters, biases = parts
        return np.asarray(filters, np.float32), np.asarray(biases, np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: a convolution has no filters and biases") from error


def _mean(owner: Any, path: Path) -> NDArray[np.float32] | None:
    """The mean colour that the file says to subtract, RGB; an image of it is averaged."""
    meta = owner.get("meta") if isinstance(owner, dict) else getattr(owner, "meta", None)
    place = owner if meta is None else meta
    values = place.get("normalization") if isinstance(place, dict) else getattr(place, "normalization", None)
    image = getattr(values, "averageImage", None)
    if image is None:
        return None
    array = np.asarray(image, np.float32)
    if array.shape[-1:] != (3,):
        raise ModelError(f"{path} states a mean of the shape {array.shape}, not of three colours")
    return np.asarray(array.reshape(-1, 3).mean(axis=0), np.float32)
