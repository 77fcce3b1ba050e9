"""Every field of every file that a stranger can hand us: it is read, or it is one clear error. Memory stays bounded.

A bounded number of inputs for each kind of file; as many as wanted with

    EDGE_TRACKER_FUZZ=10000 pytest tests/hostile/test_files.py
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from calibration.crops import Crops
from edge_tracker.backbones.base import METADATA_KEY, BackboneInfo, Layer, Tap
from edge_tracker.backbones.cards import Accuracy, Measured, ModelCard, Training, card_path
from edge_tracker.backbones.catalogue import HEAD, PACKAGED, Model, _rank
from edge_tracker.backbones.companion import Owner, read_owner, stated_metadata
from edge_tracker.cli.models import print_card
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import load_head
from edge_tracker.errors import EdgeTrackerError, ModelError
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.weight_files import read_weight_network
from edge_tracker.fsnet.confidence import Confidence
from edge_tracker.fsnet.pretrained import read_pretrained
from edge_tracker.fsnet.roi_align import CELLS
from edge_tracker.methods import AUTOMATIC, _read
from edge_tracker.settings import assign, from_mapping, names_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

EXAMPLES = int(os.environ.get("EDGE_TRACKER_FUZZ", "150"))
MEMORY = 1 << 30  # bytes beyond what the process has: far more than any of these files may take
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


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


CARD = ModelCard(
    "edge-small",
    431_992,
    "1" * 64,
    TRUNK,
    "Apache-2.0",
    "ours",
    "w, sha256 0",
    "int8",
    ("cosine",),
    Measured("onnxruntime", "a processor", 1.0, 2.0, 1.5),
    Training("t", "d", "c", 10, 0.5, {"block1": 0.5}),
    (Accuracy("fmst", "d", 3, 80.0, 1.0, 50.0, 1.0),),
)
INFO = BackboneInfo(
    "m", 64, 64, (Tap("stride16", 16, (Layer("a", 6),)), Tap("stride8", 8, (Layer("b", 4),), "localisation")), TRUNK
)


@FUZZ
@given(text=changed(json.loads(json.dumps(asdict(CARD)))))
def test_cards(text: str, folder: Path) -> None:
    model = folder / "m.int8.onnx"
    model.touch()
    card_path(model).write_bytes(text.encode("utf-8", "surrogatepass"))
    card = read_or_refused(lambda: ModelCard.read(model))
    if card is not None:  # then all that is done with a card can be done with it
        assert not card.describes(model)
        _rank(Model(model, card, ()), "auto")
        print_card(card)


@FUZZ
@given(content=damaged(json.dumps(asdict(CARD)).encode()))
def test_cards_of_damaged_bytes(content: bytes, folder: Path) -> None:
    model = folder / "d.onnx"
    card_path(model).write_bytes(content)
    read_or_refused(lambda: ModelCard.read(model))


@FUZZ
@given(text=changed(json.loads(INFO.to_metadata())))
def test_metadata_of_models(text: str) -> None:
    info = read_or_refused(lambda: BackboneInfo.from_metadata({METADATA_KEY: text}, "m.onnx"))
    if info is not None:
        assert sum(tap.channels for tap in info.taps) > 0
        read_or_refused(lambda: info.at(64, 96, "m.onnx").only(("selection", "localisation"), "m.onnx"))
        assert BackboneInfo.from_metadata({METADATA_KEY: info.to_metadata()}, "m.onnx") == info


_noise = np.random.default_rng(0)
HEAD_TENSORS: dict[str, np.ndarray] = {
    "presence.weights": _noise.normal(size=(2, 5)),
    "projection.stride16.directions": _noise.normal(size=(6, 4)).astype(np.float16),
    "projection.stride16.offset": _noise.normal(size=4).astype(np.float32),
    "projection.stride8.directions": _noise.normal(size=(4, 4)).astype(np.float16),
    "projection.stride8.offset": _noise.normal(size=4).astype(np.float32),
}


@FUZZ
@given(content=safetensors(HEAD_TENSORS, {"kind": "head", "model": "m", "fingerprint": TRUNK}))
def test_heads(content: bytes, folder: Path) -> None:
    path = folder / "m.head.safetensors"
    path.write_bytes(content)
    head = read_or_refused(lambda: load_head(path, INFO))
    if head is not None:
        for tap in INFO.taps:
            found = head.projections[tap.name](np.ones((2, 3, tap.channels), np.float32))
            assert np.isfinite(found).all()
    read_or_refused(lambda: read_owner(path, "head"))


@FUZZ
@given(data=st.data())
def test_heads_with_a_refiner(data: st.DataObject, folder: Path) -> None:
    """The packaged one, whose tensors are many: a few bytes changed, mostly in its header."""
    content = (PACKAGED / f"edge-small{HEAD}").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = data.draw(damaged(content[: 8 + length]))
    path = folder / "r.head.safetensors"
    path.write_bytes(header + content[8 + length :])
    read_or_refused(lambda: load_head(path, INFO))


NETWORK_STATED = {"kind": "weight network", "model": "m", "fingerprint": TRUNK, "layers": [3, 2]}
NETWORK_STATED |= {"form": "shared", "base": "top", "fraction": 0.2, "alpha": 0.5}
NETWORK_TENSORS = {
    "shared.0.weight": _noise.normal(size=(5, 4)).astype(np.float16),
    "shared.0.bias": _noise.normal(size=4).astype(np.float16),
    "shared.1.weight": _noise.normal(size=(4, 2)).astype(np.float16),
    "shared.1.bias": _noise.normal(size=2).astype(np.float16),
}


@FUZZ
@given(content=safetensors(NETWORK_TENSORS, NETWORK_STATED))
def test_weight_networks(content: bytes, folder: Path) -> None:
    path = folder / "m.weights.safetensors"
    path.write_bytes(content)
    found = read_or_refused(lambda: read_weight_network(path))
    if found is not None:
        network, _ = found
        scores = np.linspace(-3, 3, network.channels, dtype=np.float32)
        assert all(np.isfinite(weights).all() for weights in network(scores, scores))


LAYERS: dict[str, np.ndarray] = {
    "b4": np.zeros(3, np.float32),
    "b5": np.zeros(3, np.float32),
    "confidence": np.ones(len(Confidence._fields), np.float32),
    "w5": np.ones((3, 3), np.int8),
    "w5.scale": np.ones(3, np.float32),
    "w4.stride16": np.ones((CELLS, 6, 3), np.int8),
    "w4.stride16.scale": np.ones(3, np.float32),
    "w4.stride8": np.ones((CELLS, 4, 3), np.int8),
    "w4.stride8.scale": np.ones(3, np.float32),
}


@FUZZ
@given(content=safetensors(LAYERS, {"kind": "pre-trained classifier", "model": "m", "fingerprint": TRUNK}))
def test_pretrained_layers(content: bytes, folder: Path) -> None:
    path = folder / "m.fsnet.safetensors"
    path.write_bytes(content)
    found = read_or_refused(lambda: read_pretrained(path, INFO))
    if found is not None:
        assert found.layers([np.array([0, 2]), np.array([1])], np.random.default_rng(0)).w4.shape == (CELLS * 3, 3)


def test_pretrained_layers_do_not_grow_beyond_their_file(folder: Path) -> None:
    path = folder / "bomb.fsnet.safetensors"
    tensors = LAYERS | {"w5": np.ones((1 << 20, 1), np.int8), "w5.scale": np.ones((1, 1 << 20), np.float32)}
    path.write_bytes(save(tensors, stated_metadata("pre-trained classifier", Owner("m", TRUNK))))
    with pytest.raises(ModelError, match="unusable shapes"):
        read_pretrained(path, INFO)


CROPS = {"crops": np.zeros((4, 8, 8, 3), np.uint8), "held_out": np.array([True, False, False, False])}


@FUZZ
@given(content=safetensors(CROPS, ["a", "b", "c", "d"]))
def test_calibration_crops(content: bytes, folder: Path) -> None:
    path = folder / "crops.safetensors"
    path.write_bytes(content)
    crops = read_or_refused(lambda: Crops.load(path))
    if crops is not None:
        assert len(crops.calibration) + len(crops.unseen) == len(crops.source)


@FUZZ
@given(text=changed({"a" * 64: ["accurate", time.time()], "b" * 64: ["fast", 0.0]}))
def test_what_auto_remembers(text: str, folder: Path) -> None:
    path = folder / "auto.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for name, when in _read(path).values():  # a damaged file is as good as none
        assert name in AUTOMATIC
        assert isinstance(when, float)


@FUZZ
@given(text=changed(json.loads(json.dumps(asdict(CARD.training) | {"sha256": "0" * 64, "history": []}))))  # type: ignore[call-overload]
def test_training_records(text: str, folder: Path) -> None:
    from model_card import read_training

    path = folder / "record.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_or_refused(lambda: read_training(path, PACKAGED / "edge-small.onnx", CARD))


@FUZZ
@given(data=st.data())
def test_settings_from_files_and_from_the_command_line(data: st.DataObject) -> None:
    config = data.draw(st.sampled_from([ClosedFormConfig(), FmstConfig()]))
    text = data.draw(changed(json.loads(json.dumps(asdict(config)))))
    try:
        mapping = json.loads(text)
    except (ValueError, RecursionError):
        mapping = {}
    found = read_or_refused(lambda: from_mapping(type(config), mapping, "the file"))
    assert found is None or type(found) is type(config)
    name = data.draw(st.sampled_from(names_of(type(config))) | st.text(max_size=12))
    value = data.draw(st.sampled_from(RAW) | st.text(max_size=12))
    read_or_refused(lambda: assign(config, [f"{name}={value}"]))


@FUZZ
@given(data=st.data())
def test_checkpoints(data: st.DataObject, folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="checkpoints are torch's")
    from training import read_checkpoint

    whole, path = folder / "whole.pt", folder / "t.checkpoint"
    if not whole.exists():
        torch.save({"training": {"seed": 0, "fingerprint": TRUNK}, "net": {"w": torch.zeros(3, 2)}, "done": 5}, whole)
    path.write_bytes(data.draw(damaged(whole.read_bytes())))
    state = read_or_refused(lambda: read_checkpoint(path, {"seed": 0, "fingerprint": TRUNK}))
    assert state is None or isinstance(state, dict)
