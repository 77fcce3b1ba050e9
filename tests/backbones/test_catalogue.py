"""Where models are looked for, and in which order."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edge_tracker.backbones.base import PURPOSES
from edge_tracker.backbones.cards import Accuracy, ModelCard, Training
from edge_tracker.backbones.catalogue import CATALOGUE, PACKAGED, entry_of, find_model, locate, user_cache
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.errors import ModelError, OutputError


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


TRAINING = Training("t, t.pth, sha256 0", "1000 pictures", "python x.py", 5, 0.5, {"block1": 0.75})
ACCURACY = (Accuracy("fmst", "2 tasks", 3, 80.0, 1.0, 50.0, 0.5), Accuracy("fast", "2 tasks", 3, 90.0, 1.0, 60.0, 0.5))


def test_cards_keep_training_and_accuracy(tmp_path: Path) -> None:
    path = place(tmp_path)
    card = replace(ModelCard.of(path, entry_of("mobilenetv3-small"), "w"), training=TRAINING, accuracy=ACCURACY)
    card.write(path)
    assert ModelCard.read(path) == card


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (None, None),
        ("training", "none"),
        ("training", {"teacher": "t"}),
        ("training", {**asdict(TRAINING), "correlation": [1]}),
        ("training", {**asdict(TRAINING), "hours": "long"}),
        ("accuracy", 5),
        ("accuracy", [{}]),
        ("accuracy", [{**asdict(ACCURACY[0]), "success": None}]),
        ("surprise", 1),
    ],
)
def test_a_card_that_cannot_be_read_is_an_error(field: str | None, value: object, tmp_path: Path) -> None:
    path = place(tmp_path)
    card = replace(ModelCard.of(path, entry_of("mobilenetv3-small"), "w"), training=TRAINING, accuracy=ACCURACY)
    card.write(path)
    file = path.with_name(path.name + ".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value} if field else {}))
    with pytest.raises(ModelError, match="card") as caught:
        ModelCard.read(path)
    assert "\n" not in str(caught.value)


def test_a_card_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    path = place(tmp_path)
    path.with_name(path.name + ".json").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        ModelCard.of(path, entry_of("mobilenetv3-small"), "w").write(path)


def test_every_entry_is_complete() -> None:
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)
    for entry in CATALOGUE:
        assert entry.licence
        assert entry.source
        assert entry.accuracy
        if entry.weights:
            assert entry.weights.url.endswith(f"-{entry.weights.sha256_prefix}.pth")


@pytest.mark.parametrize("model", sorted(PACKAGED.glob("*.onnx")), ids=lambda path: path.stem)
def test_packaged_models_say_what_they_are(model: Path) -> None:
    """scripts/model_card.py fills in what is missing here after a conversion."""
    card = ModelCard.read(model)
    assert card is not None
    assert card.model == model.stem
    assert card.describes(model)
    assert card.failed_gates == ()
    training = card.training
    assert training is not None
    info = load_backbone(model, purposes=PURPOSES).info
    assert set(training.correlation) == {layer.name for tap in info.taps for layer in tap.layers}
    assert all(0 < value <= 1 for value in training.correlation.values())
    assert training.command.startswith(f"python scripts/train_backbone.py --student {card.model} ")
    assert "/" not in training.command.replace("scripts/train_backbone.py", "")  # no folder of the machine it ran on
    assert "sha256" in training.teacher
    assert training.crops > 0
    assert training.hours > 0
    assert "fmst" in {row.tracker for row in card.accuracy}
    for row in card.accuracy:
        assert 0 < row.success < row.precision <= 100
        assert row.seeds >= 3
