"""The offline head: a backbone's many channels, standardised and turned onto few directions (PCA).

Fitted by scripts/fit_head.py, once per backbone; the file belongs to the backbone it was fitted on. What is trained
and calibrated on top of it lies in the same file, for it is worth nothing with other directions.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import BackboneInfo, Tap
from edge_tracker.closed_form.likeness import WEIGHTS
from edge_tracker.closed_form.refinement_network import RefinementNetwork
from edge_tracker.errors import ModelError

REFINEMENT = "refinement."  # before the names of its tensors


@dataclass(frozen=True)
class Projection:
    """Of one tap: features @ directions - offset. `directions` (C, D), `offset` (D,), most telling directions first."""

    directions: NDArray[np.float32]
    offset: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W, C) -> (H, W, D)."""
        height, width, channels = features.shape
        projected: NDArray[np.float32] = features.reshape(-1, channels) @ self.directions
        projected -= self.offset
        return projected.reshape(height, width, -1)

    def first(self, count: int) -> Projection:
        """The same with its first `count` directions alone, contiguous."""
        return Projection(np.ascontiguousarray(self.directions[:, :count]), self.offset[:count].copy())


def fit_projection(mean: NDArray[np.float64], covariance: NDArray[np.float64], count: int) -> Projection:
    """First `count` principal directions of standardised features, each divided by its eigenvalue^(1/4).

    mean (C,), covariance (C, C): of the raw features.

    Full whitening would raise noise to the level of signal, none would leave all to the first few directions; the
    root in between serves a ridge best (docs/closed-form.md). Dead channels get no weight.
    """
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))  # rounding can leave a dead channel under 0
    alive = deviation > 1e-6 * np.median(deviation)
    scale = np.where(alive, 1 / np.where(alive, deviation, 1), 0)
    values, vectors = np.linalg.eigh(covariance * np.outer(scale, scale))
    order = np.argsort(values)[::-1][:count]
    vectors, values = vectors[:, order], np.maximum(values[order], 1e-6)
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(order))])  # a fixed sign
    directions = scale[:, None] * vectors * values**-0.25
    return Projection(directions.astype(np.float32), (mean @ directions).astype(np.float32))


@dataclass(frozen=True)
class Head:
    """What is fitted offline for a backbone."""

    projections: tuple[Projection, ...]  # of its taps, in their order
    presence: NDArray[np.float64]  # (2, WEIGHTS): `presence.Presence`'s weights with the fine tap, and without it
    refinement: RefinementNetwork | None = None  # where one was trained (scripts/train_refiner.py)


def save_head(path: Path, info: BackboneInfo, head: Head) -> None:
    """Write the head of the backbone of `info`; float16, all or nothing."""
    arrays: dict[str, Any] = {"model": np.array(info.model), "presence": head.presence}
    for tap, projection in zip(info.taps, head.projections, strict=True):
        arrays[f"{tap.name}.directions"] = projection.directions.astype(np.float16)
        arrays[f"{tap.name}.offset"] = projection.offset
    if head.refinement is not None:
        for name, tensor in head.refinement.tensors.items():
            arrays[REFINEMENT + name] = tensor.astype(np.float16)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    partial.replace(path)


def load_head(path: Path, info: BackboneInfo) -> Head:
    """Read the head of the backbone of `info`.

    Raises ModelError for a file that is missing, broken, of another backbone, or that does not fit its taps.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            model = str(arrays["model"])
            if model != info.model:
                raise ModelError(f"the head {path} belongs to the model '{model}', not to '{info.model}'")
            presence = arrays["presence"].astype(np.float64)
            if presence.shape != (2, WEIGHTS) or not np.isfinite(presence).all():
                raise ModelError(f"the head {path} has no usable calibration of presence")
            projections = tuple(_read_projection(arrays, tap, path) for tap in info.taps)
            return Head(projections, presence, _read_refinement(arrays))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"cannot read the head {path}: {error}") from error


def _read_refinement(arrays: np.lib.npyio.NpzFile) -> RefinementNetwork | None:
    names = [name for name in arrays.files if name.startswith(REFINEMENT)]
    if not names:
        return None
    return RefinementNetwork({name.removeprefix(REFINEMENT): arrays[name].astype(np.float32) for name in names})


def _read_projection(arrays: np.lib.npyio.NpzFile, tap: Tap, path: Path) -> Projection:
    directions = arrays[f"{tap.name}.directions"].astype(np.float32)
    offset = arrays[f"{tap.name}.offset"].astype(np.float32)
    if directions.ndim != 2 or directions.shape[0] != tap.channels or offset.shape != directions.shape[1:]:
        raise ModelError(
            f"the head {path} has directions {directions.shape} and offset {offset.shape} for the tap '{tap.name}' "
            f"of {tap.channels} channels"
        )
    if not (np.isfinite(directions).all() and np.isfinite(offset).all()):
        raise ModelError(f"the head {path} holds NaN or infinite values")
    return Projection(directions, offset)
