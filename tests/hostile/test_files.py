"""Every field of every file that a stranger can hand us: it is read, or it is one clear error. Memory stays bounded.

A bounded number of inputs for each kind of file; as many as wanted with

    EDGE_TRACKER_FUZZ=10000 pytest tests/hostile/test_files.py tests/hostile/test_checkpoints.py
"""

from __future__ import annotations

import json
import struct
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from calibration.crops import Crops
from edge_tracker.backbones.base import METADATA_KEY, BackboneInfo, Layer, Tap
from edge_tracker.backbones.cards import Accuracy, Measured, ModelCard, Training, card_path
from edge_tracker.backbones.catalogue import HEAD, PACKAGED, Model, _rank
from edge_tracker.backbones.companion import Owner, read_companion, read_owner, stated_metadata, write_companion
from edge_tracker.cli.models import print_card
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import load_head
from edge_tracker.errors import ModelError
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.weight_files import read_weight_network
from edge_tracker.fsnet.confidence import Confidence
from edge_tracker.fsnet.pretrained import read_pretrained
from edge_tracker.fsnet.roi_align import CELLS
from edge_tracker.methods import AUTOMATIC, _read
from edge_tracker.settings import assign, from_mapping, names_of
from tests.hostile.fuzz import FUZZ, RAW, TRUNK, changed, damaged, read_or_refused, safetensors

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
pytestmark = pytest.mark.usefixtures("bounded_memory")

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


@pytest.mark.parametrize("value", [np.nan, -np.inf, 3e38])
def test_a_value_that_nothing_finite_comes_of_is_refused(value: float, folder: Path) -> None:
    path = folder / "huge.head.safetensors"
    write_companion(path, "head", Owner("m", TRUNK), {"presence.weights": np.array([1.0, value])})
    with pytest.raises(ModelError, match="huge values"):
        read_companion(path, "head", Owner)
