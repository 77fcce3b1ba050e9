"""Where models are looked for, and in which order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_tracker.backbones.catalogue import (
    CATALOGUE,
    PACKAGED,
    ModelCard,
    entry_of,
    find_model,
    locate,
    user_cache,
)
from edge_tracker.errors import ModelError


def place(folder: Path, name: str = "mobilenetv3-small") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(PACKAGED / "edge-small.onnx", folder / f"{name}.onnx"))


def test_the_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_cache = place(user_cache())
    assert locate("mobilenetv3-small") == in_cache
    in_variable = place(tmp_path / "variable")
    monkeypatch.setenv("EDGE_TRACKER_MODELS", str(tmp_path / "variable"))
    assert locate("mobilenetv3-small") == in_variable
    in_folder = place(tmp_path / "folder")
    assert locate("mobilenetv3-small", tmp_path / "folder") == in_folder


def test_auto_takes_the_first_of_the_catalogue_that_is_there(tmp_path: Path) -> None:
    assert find_model("auto") == PACKAGED / "edge-small.onnx"
    place(tmp_path)  # one that stands behind it
    assert find_model("auto", tmp_path) == PACKAGED / "edge-small.onnx"
    own = place(tmp_path, "edge-small")
    assert find_model("auto", tmp_path) == own


def test_a_missing_model_says_where_was_looked_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="edge-track models pull vgg16") as caught:
        find_model("vgg16", tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match="mobilenetv3-small"):
        find_model("mobilenet")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = place(tmp_path, "mine")
    assert find_model(path) == path
    assert find_model(str(path)) == path


def test_cards_tell_a_changed_file(tmp_path: Path) -> None:
    path = place(tmp_path)
    entry = entry_of("mobilenetv3-small")
    assert ModelCard.read(path) is None
    card = ModelCard.of(path, entry, "weights.pth")
    card.write(path)
    assert ModelCard.read(path) == card
    assert card.describes(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert not card.describes(path)


def test_a_card_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path = place(tmp_path)
    path.with_name(path.name + ".json").write_text("{}")
    with pytest.raises(ModelError, match="card"):
        ModelCard.read(path)


def test_every_entry_is_complete() -> None:
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)
    for entry in CATALOGUE:
        assert entry.licence
        assert entry.source
        assert entry.accuracy
        if entry.weights:
            assert entry.weights.url.endswith(f"-{entry.weights.sha256_prefix}.pth")


def test_the_packaged_model_agrees_with_its_card() -> None:
    card = ModelCard.read(PACKAGED / "edge-small.onnx")
    assert card is not None
    assert card.model == "edge-small"
    assert card.describes(PACKAGED / "edge-small.onnx")
