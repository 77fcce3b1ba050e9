"""How the tests of hostile files make and judge them: documents and bytes with something wrong, and a fair answer."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from edge_tracker.backbones.base import METADATA_KEY
from edge_tracker.errors import EdgeTrackerError

EXAMPLES = int(os.environ.get("EDGE_TRACKER_FUZZ", "150"))
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)
TRUNK = "0" * 64

# As they stand in the text; json.dumps would not write most of them.
_SHORT = r"""1e400 -1e400 1e-400 NaN -Infinity -0 0 -1 0.5 1e308 2147483648 9223372036854775808 true null
    [] {} [[]] [null] {"":1} "" "\ud800" "\u0000" "x" "1" "nan" "../../etc/passwd" "\n\n" '"""
RAW = [
    *_SHORT.split(),
    "",
    "9" * 5000,
    '"' + "x" * 100_000 + '"',
    "[" * 100_000,
    "[" * 900 + "]" * 900,
    '{"a":' * 100_000,
    "[" + "0," * 50_000 + "0]",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of a document."""
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> str:
    """The document as JSON with one to three of its values replaced, removed, or joined by others."""
    document, raw = deepcopy(document), {}
    for number in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        if draw(st.booleans()):
            value: Any = draw(VALUES)
        else:
            value = f"raw {number} of this document"
            raw[json.dumps(value)] = draw(st.sampled_from(RAW))
        if not path:
            document = value
            continue
        *way, last = path
        parent = document
        for key in way:
            parent = parent[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if kind == "remove" or (kind == "add" and isinstance(parent, list)):
            del parent[last]
        elif kind == "add":
            parent[draw(st.text(max_size=12)) or f"{last}s"] = value
        else:
            parent[last] = value
    text = json.dumps(document)
    for mark, token in raw.items():
        text = text.replace(mark, token)
    return text


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes cut short, grown, or with some others in their place."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["set", "set", "cut", "insert"]))
        if kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 1 + len(data) // 3))]
        else:
            data[at:at] = draw(st.binary(max_size=16))
    return bytes(data)


@st.composite
def safetensors(draw: st.DrawFn, tensors: dict[str, np.ndarray], metadata: Any) -> bytes:
    """A safetensors file whose header, metadata or bytes are not what they should be."""
    content = save(tensors, {METADATA_KEY: json.dumps(metadata)})
    kind = draw(st.sampled_from(["metadata", "header", "bytes"]))
    if kind == "metadata":
        return save(tensors, {METADATA_KEY: draw(changed(metadata)).replace("\ud800", "")})
    if kind == "bytes":
        return draw(damaged(content))
    (length,) = struct.unpack("<Q", content[:8])
    header = draw(changed(json.loads(content[8 : 8 + length]))).encode("utf-8", "surrogatepass")
    stated = len(header) if draw(st.booleans()) else draw(st.integers(0, 2**64 - 1))
    return struct.pack("<Q", stated) + header + content[8 + length :]


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What was read, None where it was refused in one line; anything else fails the test."""
    try:
        return read()
    except EdgeTrackerError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    assert len(message) < 3000
    return None
