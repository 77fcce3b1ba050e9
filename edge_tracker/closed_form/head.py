"""The offline head: a backbone's many channels, standardised and turned onto few directions (PCA).

Fitted by scripts/fit_head.py, once per backbone; the file belongs to the backbone it was fitted on. What is trained
and calibrated on top of it lies in the same file, for it is worth nothing with other directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import BackboneInfo, Projection, Tap
from edge_tracker.backbones.companion import Owner, check_belongs, read_companion, write_companion
from edge_tracker.closed_form.likeness import WEIGHTS
from edge_tracker.closed_form.refinement_network import RefinementNetwork
from edge_tracker.errors import ModelError, first_line
from edge_tracker.settings import shown

WHAT = "head"
LARGEST_BYTES = 16 << 20  # thirty times the largest we have


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

    projections: Mapping[str, Projection]  # by the name of the tap
    presence: NDArray[np.float64]  # (2, 2, WEIGHTS): `likeness.Presence`'s weights with the fine tap, and without it;
    # while following, and while seeking
    refinement: RefinementNetwork | None = None  # where one was trained (scripts/train_refiner.py)


class Part(Protocol):
    """What a head may hold beside projections and presence: made from its tensors, which it keeps."""

    @property
    def tensors(self) -> Mapping[str, NDArray[Any]]: ...


# Optional groups of tensors, each a field of Head of the same name: what makes the part of them (ValueError for names
# or shapes that are not its own), and the type they are stored in. float16 is read back as float32.
PARTS: dict[str, tuple[Callable[[Mapping[str, NDArray[Any]]], Part], type[np.floating[Any]]]] = {
    "refinement": (RefinementNetwork, np.float16),
}
GROUPS = ("projection", "presence", *PARTS)  # a tensor is called GROUP.NAME


def save_head(path: Path, info: BackboneInfo, head: Head) -> None:
    """Write the head of the backbone of `info`, whole or not at all. Raises OutputError."""
    tensors: dict[str, NDArray[Any]] = {"presence.weights": head.presence}
    for tap, projection in head.projections.items():
        tensors[f"projection.{tap}.directions"] = projection.directions.astype(np.float16)
        tensors[f"projection.{tap}.offset"] = projection.offset
    for group, (_, stored) in PARTS.items():
        if (part := getattr(head, group)) is not None:
            tensors |= {f"{group}.{name}": np.asarray(tensor, stored) for name, tensor in part.tensors.items()}
    write_companion(path, WHAT, Owner(info.model, info.fingerprint), tensors)


def load_head(path: Path, info: BackboneInfo) -> Head:
    """Read the head of the backbone of `info`.

    Raises ModelError for a file that is missing, broken, of another backbone, or that does not fit its taps.
    """
    owner, tensors = read_companion(path, WHAT, Owner, LARGEST_BYTES)
    check_belongs(owner, info, path, WHAT)
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        if group not in GROUPS:
            raise ModelError(f"the head {path} holds {shown(name)}, of which this version knows nothing")
        groups.setdefault(group, {})[rest] = tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
    presence = groups.get("presence", {}).get("weights")
    if presence is None or presence.shape != (2, 2, WEIGHTS):
        raise ModelError(f"the head {path} has no usable calibration of presence")
    projections = {tap.name: _projection(groups.get("projection", {}), tap, path) for tap in info.taps}
    try:
        parts: dict[str, Any] = {group: make(groups[group]) for group, (make, _) in PARTS.items() if group in groups}
    except ValueError as error:
        raise ModelError(f"the head {path} does not fit this version: {first_line(error)}") from error
    return Head(projections, presence.astype(np.float64), **parts)


def _projection(tensors: Mapping[str, NDArray[Any]], tap: Tap, path: Path) -> Projection:
    directions, offset = tensors.get(f"{tap.name}.directions"), tensors.get(f"{tap.name}.offset")
    if directions is None or offset is None:
        raise ModelError(f"the head {path} has no projection for the tap '{tap.name}'")
    if directions.ndim != 2 or directions.shape[0] != tap.channels or offset.shape != directions.shape[1:]:
        raise ModelError(
            f"the head {path} has directions {directions.shape} and offset {offset.shape} for the tap '{tap.name}' "
            f"of {tap.channels} channels"
        )
    return Projection(directions.astype(np.float32), offset.astype(np.float32))
