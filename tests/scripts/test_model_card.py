"""Model cards: what is put on them is what was recorded and measured, and of this model."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import model_card as script

from edge_tracker import Tracker
from edge_tracker.backbones.cards import Accuracy, ModelCard
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import run_task

BLOCKS = ("block6", "block8", "block9", "block3", "block4")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The packaged model with a card as the converter writes it, and its head."""
    for ending in (".onnx", ".head.safetensors"):
        shutil.copy(PACKAGED / f"edge-small{ending}", tmp_path)
    card = json.loads((PACKAGED / "edge-small.onnx.json").read_text())
    for later in ("training", "accuracy"):
        card.pop(later, None)
    (tmp_path / "edge-small.onnx.json").write_text(json.dumps(card))
    return tmp_path / "edge-small.onnx"


def record(model: Path, **changes: object) -> Path:
    """What scripts/train_backbone.py leaves beside the weights of the model."""
    card = ModelCard.read(model)
    assert card is not None
    path = model.with_name("record.json")
    fields: dict[str, object] = {"teacher": "t, t.pth, sha256 0", "data": "1000 pictures", "command": "python x.py"}
    fields |= {"crops": 100_000, "hours": 0.9, "correlation": dict.fromkeys(BLOCKS, 0.9)}
    fields |= {"sha256": card.weights.split()[-1], "history": []}
    path.write_text(json.dumps(fields | changes))
    return path


def test_training_and_accuracy_come_onto_the_card(
    model: Path, otb_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ModelCard.read(model)
    assert before is not None
    assert script.main(["--model", str(model), "--training", str(record(model))]) == 0
    options = ["--model", str(model), "--data", str(otb_folder), "--seeds", "2", "--trackers"]
    assert script.main([*options, "fmst"]) == 0
    said = capsys.readouterr().out
    card = ModelCard.read(model)
    assert card is not None
    assert card.describes(model)
    assert (card.measured, card.weights) == (before.measured, before.weights)
    assert card.training is not None
    assert (card.training.crops, card.training.correlation["block9"]) == (100_000, 0.9)
    scores = []
    for seed in range(2):
        make = partial(Tracker, "fmst", model, seed=seed)
        mean = mean_curves([run_task(make, task).curves for task in read_tasks(otb_folder)])
        scores.append((100 * mean.precision_score, 100 * mean.success_score))
    (precision, success), (spread_p, spread_s) = np.mean(scores, axis=0), np.std(scores, axis=0)
    (row,) = card.accuracy
    assert (row.tracker, row.data, row.seeds) == ("fmst", f"3 tasks of {otb_folder.name}", 2)
    found = (row.precision, row.precision_deviation, row.success, row.success_deviation)
    assert found == pytest.approx((precision, spread_p, success, spread_s), abs=0.006)
    assert f"fmst: precision {row.precision:.1f}" in said
    assert "block9 0.900" in said

    # Another tracker joins it, the same one takes its place, and the training stays.
    other = Accuracy("fmst", "elsewhere", 1, 1.0, 0.0, 1.0, 0.0)
    ModelCard(**{**vars(card), "accuracy": (other,)}).write(model)
    assert script.main([*options, "fast,fmst"]) == 0
    again = ModelCard.read(model)
    assert again is not None
    assert again.training == card.training
    assert [a.tracker for a in again.accuracy] == ["fast", "fmst"]
    assert again.accuracy[1] == row


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing", "nothing to put on the card"),
        ("no tracker", "no tracker nonsense"),
        ("no model", "no model file"),
        ("no card", "no card that describes it"),
        ("another file", "no card that describes it"),
        ("no data", "no folder at"),
        ("no record", "is no record"),
        ("a list", "is no record"),
        ("no hours", "is no record"),
        ("other weights", "other weights"),
        ("other blocks", "other blocks"),
    ],
)
def test_what_does_not_belong_on_it_is_one_line(
    kind: str, message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--training", str(record(model))]
    card = model.with_name(model.name + ".json")
    before = card.read_text()
    if kind == "nothing":
        options = []
    elif kind == "no tracker":
        options += ["--trackers", "fmst,nonsense"]
    elif kind == "no model":
        model = model.with_name("none.onnx")
    elif kind == "no card":
        before = ""
        card.rename(card.with_suffix(".txt"))
    elif kind == "another file":
        model.write_bytes(model.read_bytes() + b"x")
    elif kind == "no data":
        options = ["--data", "nowhere"]
    elif kind == "no record":
        options = ["--training", "nowhere.json"]
    elif kind == "a list":
        record(model).write_text("[]")
    elif kind == "no hours":
        record(model, hours=None)
    elif kind == "other weights":
        record(model, sha256="0" * 64)
    else:
        record(model, correlation={"block11": 0.9})
    assert script.main(["--model", str(model), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("model_card: ")
    assert message in error
    assert "\n" not in error
    assert (card.read_text() if card.exists() else "") == before
