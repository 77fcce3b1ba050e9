"""`edge-track bench`: one table and one JSON, on a clip of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_tracker.backbones.catalogue import PACKAGED, ModelCard
from edge_tracker.cli import main


def test_every_combination_has_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    arguments = ["bench", "--engines", "onnxruntime", "--models", str(PACKAGED / "edge-small.onnx")]
    arguments += ["--threads", "1,2", "--sides", "160,192", "--frames", "8", "--rounds", "2", "--quiet"]
    assert main([*arguments, "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    rows = record["rows"]
    combinations = {(row["tracker"], row["threads"], row["side"]) for row in rows}
    assert combinations == {(t, n, s) for t in ("accurate", "fast") for n in (1, 2) for s in (160, 192)}
    assert len(rows) == 8
    card = ModelCard.read(PACKAGED / "edge-small.onnx")
    assert card is not None
    for row in rows:
        assert row["sha256"] == card.sha256
        assert 0 < row["backbone_p50_ms"] < row["p95_ms"]
        assert row["p50_ms"] <= row["p95_ms"]
        assert row["mean_iou"] > 0.7
    assert {"before", "after", "cpu", "packages", "advice"} <= record.keys()
    table = capsys.readouterr().out
    assert table.count("| edge-small |") == 8
    assert "before: " in table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trackers", "none"], "no tracker none"),
        (["--threads", "0"], "--threads"),
        (["--threads", "x"], "--threads"),
        (["--sides", "100"], "multiple of 32"),
        (["--models", "no-such"], "no-such"),
        (["--engines", "litert", "--models", str(PACKAGED / "edge-small.onnx")], "runs a file of"),
        (["--trackers", "fmst", "--sides", "192"], "input_side"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--frames", "2", "--rounds", "1", "--quiet", *options]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
