"""fc4 and fc5 pre-trained over many videos for all maps of a backbone (III-C): their file, and a target's part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import BackboneInfo
from edge_tracker.backbones.companion import Owner, check_belongs, read_companion, write_companion
from edge_tracker.errors import ModelError, first_line
from edge_tracker.fsnet.classifier import Array, Layers, fresh_fc6
from edge_tracker.fsnet.confidence import Confidence, Weights
from edge_tracker.fsnet.roi_align import CELLS

WHAT = "pre-trained classifier"
LARGEST_BYTES = 32 << 20


@dataclass(frozen=True)
class Pretrained:
    """Of one backbone. Weights as in `Layers`, fc4's by the name of the tap: (CELLS, channels, hidden)."""

    owner: Owner
    w4: Mapping[str, Array]
    b4: Array
    w5: Array
    b5: Array
    confidence: Confidence

    @property
    def hidden(self) -> int:
        return len(self.b4)

    def layers(self, channels: Sequence[NDArray[np.intp]], random: np.random.Generator) -> Layers:
        """The layers of a target that uses these channels of each tap, with an fc6 of its own.

        Of C maps of a tap, k are used: their weights are multiplied by sqrt(C / k), so that fc4 answers as strongly.
        """
        parts = []
        for weights, used in zip(self.w4.values(), channels, strict=True):
            factor = math.sqrt(weights.shape[1] / max(1, len(used)))
            parts.append((weights[:, used] * np.float32(factor)).reshape(-1, self.hidden))
        return Layers(
            np.concatenate(parts), self.b4.copy(), self.w5.copy(), self.b5.copy(), *fresh_fc6(self.hidden, random)
        )


def write_pretrained(path: Path, pretrained: Pretrained) -> None:
    """Store weights as INT8 with a scale per output, the rest as float32. Raises OutputError."""
    tensors: dict[str, NDArray[Any]] = {
        "b4": pretrained.b4,
        "b5": pretrained.b5,
        "confidence": np.array(pretrained.confidence, np.float32),
    }
    for name, weights in {**{f"w4.{tap}": w for tap, w in pretrained.w4.items()}, "w5": pretrained.w5}.items():
        scale = np.maximum(np.abs(weights).max(axis=tuple(range(weights.ndim - 1))) / 127, 1e-12).astype(np.float32)
        tensors[name] = np.rint(weights / scale).astype(np.int8)
        tensors[f"{name}.scale"] = scale
    write_companion(path, WHAT, pretrained.owner, tensors)


def read_pretrained(path: Path, info: BackboneInfo) -> Pretrained:
    """Of the taps of `info`. Raises ModelError where the file is damaged, or of another backbone."""
    owner, tensors = read_companion(path, WHAT, Owner, LARGEST_BYTES, (np.int8, np.float32))
    check_belongs(owner, info, path, WHAT)
    try:
        w4 = {tap.name: _dequantised(tensors, f"w4.{tap.name}") for tap in info.taps}
        b4, b5, weights = (np.asarray(tensors[name], np.float32) for name in ("b4", "b5", "confidence"))
        confidence = Confidence(*(Weights(*map(float, part)) for part in weights))
        found = Pretrained(owner, w4, b4, _dequantised(tensors, "w5"), b5, confidence)
    except KeyError as error:
        raise ModelError(f"the {WHAT} {path} lacks {error}") from error
    except (ValueError, TypeError) as error:
        raise ModelError(f"the {WHAT} {path} has unusable shapes: {first_line(error)}") from error
    hidden = found.b4.shape
    expected = [(CELLS, tap.channels, *hidden) for tap in info.taps]
    fits = [w.shape for w in w4.values()] == expected and found.w5.shape == hidden * 2 and found.b5.shape == hidden
    if not fits or len(hidden) != 1:
        raise ModelError(f"the {WHAT} {path} does not fit the taps of {info.model}")
    return found


def _dequantised(tensors: Mapping[str, NDArray[Any]], name: str) -> Array:
    weights, scale = tensors[name], tensors[f"{name}.scale"]
    if weights.ndim < 1 or scale.shape != weights.shape[-1:]:  # else the product may be far larger than the file
        raise ValueError(f"{name} {weights.shape} with a scale {scale.shape}")
    return np.asarray(weights, np.float32) * np.asarray(scale, np.float32)
