"""fc4 and fc5 pre-trained over many videos for all maps of a backbone (III-C): their file, and a target's part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save

from edge_tracker.backbones.base import BackboneInfo
from edge_tracker.errors import ModelError, first_line
from edge_tracker.fsnet.classifier import Array, Layers, fresh_fc6
from edge_tracker.fsnet.roi_align import CELLS


@dataclass(frozen=True)
class Pretrained:
    """Of one backbone. Weights as in `Layers`, fc4's by tap: (CELLS, channels, hidden)."""

    model: str
    fingerprint: str  # of the backbone's weights
    w4: tuple[Array, ...]
    b4: Array
    w5: Array
    b5: Array

    @property
    def hidden(self) -> int:
        return len(self.b4)

    def layers(self, channels: Sequence[NDArray[np.intp]], random: np.random.Generator) -> Layers:
        """The layers of a target that uses these channels of each tap, with an fc6 of its own.

        Of C maps of a tap, k are used: their weights are multiplied by sqrt(C / k), so that fc4 answers as strongly.
        """
        parts = []
        for weights, used in zip(self.w4, channels, strict=True):
            factor = math.sqrt(weights.shape[1] / max(1, len(used)))
            parts.append((weights[:, used] * np.float32(factor)).reshape(-1, self.hidden))
        return Layers(
            np.concatenate(parts), self.b4.copy(), self.w5.copy(), self.b5.copy(), *fresh_fc6(self.hidden, random)
        )


def write_pretrained(path: Path, pretrained: Pretrained) -> None:
    """Store weights as INT8 with a scale per output, biases as float32. Raises OSError."""
    tensors: dict[str, NDArray[np.generic]] = {"b4": pretrained.b4, "b5": pretrained.b5}
    names = [*(f"w4.{i}" for i in range(len(pretrained.w4))), "w5"]
    for name, weights in zip(names, [*pretrained.w4, pretrained.w5], strict=True):
        scale = np.maximum(np.abs(weights).max(axis=tuple(range(weights.ndim - 1))) / 127, 1e-12).astype(np.float32)
        tensors[name] = np.rint(weights / scale).astype(np.int8)
        tensors[name + ".scale"] = scale
    metadata = {"model": pretrained.model, "fingerprint": pretrained.fingerprint}
    path.write_bytes(save(tensors, metadata))


def read_pretrained(path: Path, info: BackboneInfo) -> Pretrained:
    """Raises ModelError where the file is damaged, or of another backbone than `info`."""
    try:
        with safetensors.safe_open(str(path), "np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        w4 = tuple(_dequantised(tensors, f"w4.{i}") for i in range(len(info.taps)))
        found = Pretrained(
            metadata["model"], metadata["fingerprint"], w4, tensors["b4"], _dequantised(tensors, "w5"), tensors["b5"]
        )
    except KeyError as error:
        raise ModelError(f"{path} lacks {error}: it holds no pre-trained layers for {info.model}") from error
    except (OSError, safetensors.SafetensorError, ValueError, TypeError) as error:
        raise ModelError(f"cannot read {path}: {first_line(error)}") from error
    hidden = found.b4.shape
    expected = [(CELLS, tap.channels, *hidden) for tap in info.taps]
    fits = [w.shape for w in w4] == expected and found.w5.shape == hidden * 2 and found.b5.shape == hidden
    finite = all(np.isfinite(part).all() for part in (*w4, found.w5, found.b4, found.b5))
    if found.model != info.model or not fits or not finite or f"w4.{len(w4)}" in tensors:
        raise ModelError(f"{path} holds pre-trained layers of {found.model}, not of {info.model} with its taps")
    return found


def _dequantised(tensors: dict[str, NDArray[np.generic]], name: str) -> Array:
    return np.asarray(tensors[name], np.float32) * np.asarray(tensors[name + ".scale"], np.float32)
