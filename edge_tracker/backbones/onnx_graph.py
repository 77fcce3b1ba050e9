"""ONNX graphs written and extended without the `onnx` package: 31 MB, and 60 ms to import, where this takes 1.5.

A `.onnx` file is one protobuf message, and a message is a row of fields: number, kind, content. Few kinds are needed to
add nodes to a graph, so they are written here. (https://protobuf.dev/programming-guides/encoding,
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.) What ONNX Runtime checks when it loads a graph is not checked
here.

The projections could lie in the model files instead. But they belong to a head, which is fitted and replaced by itself,
and with it all files of its model would have to be written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of fields
IR_VERSION, OPSET = 8, 17  # that ONNX Runtime 1.18 and all later ones read
FLOAT, INT64 = 1, 7  # types of tensors
ATTRIBUTE_INT, ATTRIBUTE_INTS = 2, 7

# Numbers of fields.
MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET, MODEL_METADATA = 1, 7, 8, 14
GRAPH_NODE, GRAPH_NAME, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 2, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_OPERATION = 1, 2, 4
LONGEST_VARINT = 10  # bytes


class Field(NamedTuple):
    """One field of a message."""

    number: int
    kind: int
    content: int | bytes  # int for VARINT alone
    whole: bytes  # number, kind and content as they are written


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message, in their order. Raises ValueError where it is no message."""
    at = 0
    while at < len(message):
        first = at
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        content: int | bytes
        if kind == VARINT:
            content, at = _read_varint(message, at)
        elif kind in (BYTES, FIXED32, FIXED64):
            length, at = _read_varint(message, at) if kind == BYTES else (8 if kind == FIXED64 else 4, at)
            content, at = message[at : at + length], at + length
        else:
            raise ValueError(f"a field of kind {kind}")
        if at > len(message):
            raise ValueError("a field beyond the end")
        yield Field(number, kind, content, message[first:at])


def metadata_of(model: bytes) -> dict[str, str]:
    """What a model states about itself. Raises ValueError where it is no message."""
    found = {}
    for field in fields(model):
        if field.number == MODEL_METADATA and isinstance(field.content, bytes):
            parts = {part.number: part.content for part in fields(field.content) if isinstance(part.content, bytes)}
            found[parts.get(1, b"").decode()] = parts.get(2, b"").decode()
    return found


def joined(model: bytes, name: str) -> list[str]:
    """The tensors that are concatenated to the one of this name; itself where it is made in another way."""
    for part in _graph_parts(model):
        if _texts(part, NODE_OPERATION) == [b"Concat"] and name.encode() in _texts(part, NODE_OUTPUT):
            return [text.decode() for text in _texts(part, NODE_INPUT)]
    return [name]


def with_outputs(model: bytes, added: Iterable[bytes], outputs: Sequence[str]) -> bytes:
    """The model with these fields of the graph added (`node`, `constant`), and with these outputs, float32, alone.
    What they do not need is left out: ONNX Runtime would compute it all the same."""
    parts = [*_graph_parts(model), *(part for whole in added for part in fields(whole))]
    needed, kept = {name.encode() for name in outputs}, []
    for part in reversed(parts):  # a node comes after those that it reads
        if part.number == GRAPH_NODE:
            if needed.isdisjoint(_texts(part, NODE_OUTPUT)):
                continue
            needed.update(_texts(part, NODE_INPUT))
        kept.append(part.whole)
    graph = [*reversed(kept), *(_value(GRAPH_OUTPUT, name) for name in outputs)]
    return b"".join([*_other_parts(model), _bytes(MODEL_GRAPH, b"".join(graph))])


def new_model(inputs: Mapping[str, Sequence[int]], added: Iterable[bytes], outputs: Sequence[str]) -> bytes:
    """A model of float32 inputs of these shapes, and fields of the graph as in `with_outputs`."""
    graph = [_bytes(GRAPH_NAME, b"graph"), *(_value(GRAPH_INPUT, name, shape) for name, shape in inputs.items())]
    graph += [*added, *(_value(GRAPH_OUTPUT, name) for name in outputs)]
    opset = _varint(2, OPSET)
    return _varint(MODEL_IR_VERSION, IR_VERSION) + _bytes(MODEL_OPSET, opset) + _bytes(MODEL_GRAPH, b"".join(graph))


def node(operation: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> bytes:
    """A node of the graph."""
    parts = [_text(NODE_INPUT, name) for name in inputs]
    parts += [_text(NODE_OUTPUT, output), _text(NODE_OPERATION, operation)]
    for name, value in attributes.items():
        if isinstance(value, int):
            said = _varint(3, value) + _varint(20, ATTRIBUTE_INT)
        else:
            said = b"".join(_varint(8, v) for v in value) + _varint(20, ATTRIBUTE_INTS)
        parts.append(_bytes(5, _text(1, name) + said))
    return _bytes(GRAPH_NODE, b"".join(parts))


def constant(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """A tensor that nodes may take: float32 or int64."""
    kind = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}[values.dtype]
    dimensions = b"".join(_varint(1, size) for size in values.shape)
    content = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return _bytes(GRAPH_INITIALIZER, dimensions + _varint(2, kind) + _text(8, name) + _bytes(9, content))


def _graph_parts(model: bytes) -> Iterator[Field]:
    """The fields of the graph but for its outputs."""
    for field in fields(model):
        if field.number == MODEL_GRAPH and isinstance(field.content, bytes):
            yield from (part for part in fields(field.content) if part.number != GRAPH_OUTPUT)


def _texts(part: Field, number: int) -> list[bytes]:
    """The fields of this number of a node; none of what is no node."""
    if part.number != GRAPH_NODE or not isinstance(part.content, bytes):
        return []
    return [f.content for f in fields(part.content) if f.number == number and isinstance(f.content, bytes)]


def _other_parts(model: bytes) -> Iterator[bytes]:
    """The fields of the model but for its graph."""
    return (field.whole for field in fields(model) if field.number != MODEL_GRAPH)


def _value(number: int, name: str, shape: Sequence[int] | None = None) -> bytes:
    """An input or output: float32, of this shape or of any."""
    tensor = _varint(1, FLOAT)
    if shape is not None:
        tensor += _bytes(2, b"".join(_bytes(1, _varint(1, size)) for size in shape))
    return _bytes(number, _text(1, name) + _bytes(2, _bytes(1, tensor)))


def _varint(number: int, value: int) -> bytes:
    return _as_varint(number << 3 | VARINT) + _as_varint(value % (1 << 64))


def _bytes(number: int, content: bytes) -> bytes:
    return _as_varint(number << 3 | BYTES) + _as_varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode())


def _as_varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the highest bit set."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a byte, and the byte after it."""
    value = 0
    for place in range(LONGEST_VARINT):
        if at + place >= len(message):
            raise ValueError("a number beyond the end")
        byte = message[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number of more than ten bytes")
