"""Where models are looked for, and in which order."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edge_tracker import Tracker
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.cards import Accuracy, Measured, ModelCard, Training
from edge_tracker.backbones.catalogue import (
    CATALOGUE,
    COMPANIONS,
    FSNET,
    HEAD,
    PACKAGED,
    WEIGHT_NETWORK,
    Model,
    find_model,
    locate,
    user_cache,
)
from edge_tracker.backbones.companion import read_owner
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.cli.models import READERS
from edge_tracker.closed_form import head
from edge_tracker.closed_form.head import load_head, save_head
from edge_tracker.errors import ModelError, OutputError
from edge_tracker.fmst import weight_files
from edge_tracker.fsnet import pretrained
from tests.conftest import restated

TRUNK = "0" * 64


def card_of(path: Path) -> ModelCard:
    return ModelCard.of(path, model="mobilenetv3-small", fingerprint=TRUNK, licence="l", source="s", weights="w")


def path_of(found: Model | None) -> Path:
    assert found is not None
    return found.path


def place(folder: Path, name: str = "mobilenetv3-small") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(PACKAGED / "edge-small.onnx", folder / f"{name}.onnx"))


def test_the_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = user_cache()
    assert cache is not None
    in_cache = place(cache)
    assert path_of(locate("mobilenetv3-small")) == in_cache
    in_variable = place(tmp_path / "variable")
    monkeypatch.setenv("EDGE_TRACKER_MODELS", str(tmp_path / "variable"))
    assert path_of(locate("mobilenetv3-small")) == in_variable
    in_folder = place(tmp_path / "folder")
    assert path_of(locate("mobilenetv3-small", tmp_path / "folder")) == in_folder


def test_auto_takes_the_first_of_the_catalogue_that_is_there(tmp_path: Path) -> None:
    assert find_model("auto").path == PACKAGED / "edge-small.onnx"
    place(tmp_path)  # one that stands behind it
    assert find_model("auto", tmp_path).path == PACKAGED / "edge-small.onnx"
    own = place(tmp_path, "edge-small")
    assert find_model("auto", tmp_path).path == own


def test_a_missing_model_says_where_was_looked_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"python converters/downloads\.py vgg16") as caught:
        find_model("vgg16", tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ModelError, match="no model 'edge-smal': did you mean 'edge-small'"):
        find_model("edge-smal")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = place(tmp_path, "mine")
    assert find_model(path).path == path
    assert find_model(str(path)).path == path


def test_cards_tell_a_changed_file(tmp_path: Path) -> None:
    path = place(tmp_path)
    assert ModelCard.read(path) is None
    card = card_of(path)
    card.write(path)
    assert ModelCard.read(path) == card
    assert card.describes(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert not card.describes(path)


MEASURED = Measured("onnxruntime", "cpu", 1.0, 2.0, 1.0)
TRAINING = Training("t, t.pth, sha256 0", "1000 pictures", "python x.py", 5, 0.5, {"block1": 0.75})
ACCURACY = (Accuracy("fmst", "2 tasks", 3, 80.0, 1.0, 50.0, 0.5), Accuracy("fast", "2 tasks", 3, 90.0, 1.0, 60.0, 0.5))


def test_cards_keep_training_and_accuracy(tmp_path: Path) -> None:
    path = place(tmp_path)
    card = replace(card_of(path), training=TRAINING, accuracy=ACCURACY)
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
        ("precision", 8),
        ("precision", "bf16"),
        ("failed_gates", "no"),
        ("fingerprint", "edge-small"),
        ("bytes", -1),
        ("measured", {**asdict(MEASURED), "p50_ms": "fast"}),
        ("measured", {**asdict(MEASURED), "packaged_p50_ms": 0}),
    ],
)
def test_a_card_that_cannot_be_read_is_an_error(field: str | None, value: object, tmp_path: Path) -> None:
    path = place(tmp_path)
    card = replace(card_of(path), training=TRAINING, accuracy=ACCURACY)
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
        card_of(path).write(path)


def test_every_entry_is_complete() -> None:
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)
    for entry in CATALOGUE:
        assert entry.licence
        assert entry.source
        assert entry.accuracy
        assert entry.how_to_get


@pytest.mark.parametrize("model", sorted(PACKAGED.glob("*.onnx")), ids=lambda path: path.stem)
def test_packaged_models_say_what_they_are(model: Path) -> None:
    """scripts/model_card.py fills in what is missing here after a conversion."""
    card = ModelCard.read(model)
    assert card is not None
    assert card.model == model.stem.split(".")[0]
    assert card.describes(model)
    assert card.failed_gates == ()
    assert card.fingerprint == load_backbone(model).info.fingerprint
    if model.stem.endswith(f".{card.precision}"):  # made of another file's weights, whose card tells of them
        assert card.fingerprint == load_backbone(model.with_name(f"{card.model}.onnx")).info.fingerprint
        return
    training = card.training
    assert training is not None
    info = load_backbone(model, EngineOptions(taps=PURPOSES)).info
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


class TestCompanions:
    """What lies beside a model belongs to it by its weights, not by its name."""

    @pytest.fixture
    def stranger(self, tmp_path: Path) -> Path:
        """Another network that calls itself edge-small."""
        own = "704cbc73"  # the beginning of the packaged model's fingerprint
        return restated(tmp_path / "edge-small.onnx", f'"fingerprint": "{own}', '"fingerprint": "12345678')

    @pytest.mark.parametrize("tracker", ["accurate", "fast", "fmst-net"])
    def test_another_network_of_the_same_name_does_not_take_them(self, stranger: Path, tracker: str) -> None:
        for model in (stranger, "edge-small"):
            with pytest.raises(
                ModelError, match=r"edge-small\.onnx \(12345678.*belongs to a edge-small of other"
            ) as error:
                Tracker(tracker, model, models_dir=stranger.parent)
            assert "\n" not in str(error.value)

    def test_one_of_its_own_is_found_behind_a_strangers(self, stranger: Path) -> None:
        packaged = PACKAGED / "edge-small.onnx"
        info = load_backbone(stranger, EngineOptions(taps=PURPOSES)).info
        packaged_head = load_head(
            PACKAGED / f"edge-small{HEAD}", load_backbone(packaged, EngineOptions(taps=PURPOSES)).info
        )
        own = stranger.parent / f"edge-small{HEAD}"
        save_head(own, info, packaged_head)
        model = find_model("edge-small", stranger.parent)
        assert model.companion(info, HEAD) == own
        # The packaged model passes over that head, though it lies in the folder that comes first.
        found = find_model(packaged, stranger.parent)
        assert found.companion(load_backbone(packaged).info, HEAD) == PACKAGED / own.name

    def test_a_file_given_by_hand_is_checked_too(self, stranger: Path) -> None:
        with pytest.raises(ModelError, match=r"weight network .* belongs to edge-small \(704cbc73.*of other weights"):
            Tracker("fmst-net", stranger, weight_network=PACKAGED / "edge-small.weights.safetensors")

    def test_each_is_called_what_its_file_states(self) -> None:
        """`Model.companion` reads files by that name."""
        kinds = {HEAD: head.WHAT, WEIGHT_NETWORK: weight_files.WHAT, FSNET: pretrained.WHAT}
        assert {ending: what for ending, (what, _) in COMPANIONS.items()} == kinds
        assert set(READERS) == set(COMPANIONS)

    def test_all_packaged_ones_belong_to_their_model(self) -> None:
        trunks = {card.model: card.fingerprint for path in PACKAGED.glob("*.onnx") if (card := ModelCard.read(path))}
        checked = 0
        for ending, (what, _) in COMPANIONS.items():
            for path in PACKAGED.glob(f"*{ending}"):
                owner = read_owner(path, what)
                assert owner.model == path.name.removesuffix(ending)
                if owner.model in trunks:
                    assert owner.fingerprint == trunks[owner.model]
                    checked += 1
        assert checked >= 3
