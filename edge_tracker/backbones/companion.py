"""Files that belong to one backbone: safetensors that state whose they are, read with suspicion.

A head, a weight network, a pre-trained classifier: each is worth nothing on other features, so each repeats the
fingerprint of the trunk whose features it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edge_tracker.backbones.base import METADATA_KEY, BackboneInfo, Fingerprint, Name
from edge_tracker.errors import ConfigError, ModelError, first_line
from edge_tracker.files import write_bytes
from edge_tracker.settings import check, decode, from_mapping, hints, shown

LARGEST_VALUE = 1e9  # of a tensor: what is multiplied with it stays finite
LARGEST_BYTES = 64 << 20  # of a file that states nothing smaller
FLOATS = (np.float16, np.float32, np.float64)


@dataclass(frozen=True)
class Owner:
    """What a companion states: the backbone it was made for. Subclasses add what else it must say of itself."""

    model: Name
    fingerprint: Fingerprint

    def __post_init__(self) -> None:
        check(self)


S = TypeVar("S", bound=Owner)


def read_companion(
    path: Path,
    what: str,
    stated: type[S],
    largest_bytes: int = LARGEST_BYTES,
    types: tuple[type[np.generic], ...] = FLOATS,
) -> tuple[S, dict[str, NDArray[Any]]]:
    """What the file states of itself, and its tensors: of `types`, no value over LARGEST_VALUE.

    what: what the file should be, for messages. Nothing is inflated, and no file over `largest_bytes` is opened. Raises
    ModelError: no such file, not safetensors, too large, another kind of file.
    """
    text, tensors = _read(path, what, largest_bytes, True)
    owner = _parsed(stated, text, path, what)
    for name, tensor in tensors.items():
        if tensor.dtype not in types:
            wanted = " or ".join(kind.__name__ for kind in types)
            raise ModelError(f"the {what} {path}: {shown(name)} is {tensor.dtype}, not {wanted}")
        if tensor.size and not float(np.abs(tensor).max()) <= LARGEST_VALUE:
            raise ModelError(f"the {what} {path}: {shown(name)} holds NaN, infinite or huge values")
    return owner, tensors


def read_owner(path: Path, what: str) -> Owner:
    """Whose file it is, without its tensors. Raises ModelError."""
    text, _ = _read(path, what, LARGEST_BYTES, False)
    return _parsed(Owner, text, path, what)


def write_companion(path: Path, what: str, stated: Owner, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a companion, whole or not at all. Raises OutputError."""
    ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    write_bytes(path, save(ordered, stated_metadata(what, stated)))


def stated_metadata(what: str, stated: Owner) -> dict[str, str]:
    """The metadata of a companion."""
    return {METADATA_KEY: json.dumps({"kind": what, **asdict(stated)})}


def check_belongs(owner: Owner, info: BackboneInfo, path: Path, what: str) -> None:
    """Raise ModelError where a companion was made for another backbone than that of `info`."""
    if (owner.model, owner.fingerprint) != (info.model, info.fingerprint):
        same = " of other weights" if owner.model == info.model else ""
        raise ModelError(
            f"the {what} {path} belongs to {owner.model} ({owner.fingerprint[:12]}), not to the {info.model}{same} "
            f"({info.fingerprint[:12]}) that is loaded"
        )


def _read(path: Path, what: str, largest_bytes: int, whole: bool) -> tuple[str, dict[str, NDArray[Any]]]:
    try:
        if (size := path.stat().st_size) > largest_bytes:
            raise ModelError(f"{path} has {size} bytes, more than any {what}")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if whole else {}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"cannot read the {what} {path}: {first_line(error)}") from error
    if METADATA_KEY not in metadata:
        raise ModelError(f"cannot read the {what} {path}: it does not state what it is")
    return metadata[METADATA_KEY], tensors


def _parsed(stated: type[S], text: str, path: Path, what: str) -> S:
    where = f"the {what} {path}"
    try:
        fields = decode(text, where)
        if not isinstance(fields, dict) or fields.get("kind") != what:
            kind = fields.get("kind") if isinstance(fields, dict) else None
            raise ModelError(f"{path} is {shown(kind) if kind else 'something else'}, not a {what}")
        del fields["kind"]
        if stated is Owner:  # what else the file states is its reader's affair
            fields = {name: fields[name] for name in hints(Owner) if name in fields}
        return from_mapping(stated, fields, where)
    except ConfigError as error:
        raise ModelError(str(error)) from error
