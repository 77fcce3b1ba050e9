"""Figures of a converted file against plain formulas, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the converters need torch (extra 'convert-onnx')")

from converters.gates import Fidelity, Report, Tracking, compare, judge, markdown, write_report
from converters.plan import Graph
from edge_tracker.backbones.base import Layer, Tap
from edge_tracker.backbones.cards import Measured
from edge_tracker.errors import OutputError

TAPS = (Tap("stride16", 16, (Layer("a", 2), Layer("b", 3))), Tap("stride8", 8, (Layer("c", 4),)))


def features(seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape).astype(np.float32) for shape in ((3, 5, 5, 5), (3, 9, 9, 4))]


def report(p50: float = 1.0, fp32_p50: float = 2.0) -> Report:
    expected = features()
    return Report(
        "m",
        "int8",
        (),
        3,
        compare(TAPS, expected, expected),
        Graph({"CONV": 4}, {}, 1),
        100,
        400,
        Measured("litert", "a processor", p50, fp32_p50, 0.7),
        1.5,
        2.5,
    )


def test_equal_features_have_cosine_one() -> None:
    for layer in compare(TAPS, features(), features()):
        assert layer.cosine == pytest.approx(1)
        assert layer.snr_db == 200


def test_every_layer_is_compared_by_itself() -> None:
    expected, found = features(), [f.copy() for f in features()]
    found[0][1, :, :, 2:] += np.random.default_rng(5).normal(size=(5, 5, 3)).astype(np.float32)
    a, b, c = compare(TAPS, found, expected)
    assert [f.layer for f in (a, b, c)] == ["stride16/a", "stride16/b", "stride8/c"]
    assert a.cosine == pytest.approx(1)
    assert c.cosine == pytest.approx(1)
    ours, theirs = found[0][..., 2:].reshape(3, -1), expected[0][..., 2:].reshape(3, -1)
    cosines = [float(x @ y / np.sqrt((x @ x) * (y @ y))) for x, y in zip(ours, theirs, strict=True)]
    assert b.cosine == pytest.approx(np.mean(cosines), abs=1e-6)
    assert b.worst_cosine == pytest.approx(min(cosines), abs=1e-6)
    assert b.snr_db == pytest.approx(10 * np.log10((theirs**2).sum() / ((ours - theirs) ** 2).sum()), abs=1e-4)


def test_a_silent_layer_is_no_match() -> None:
    found = [np.zeros_like(f) for f in features()]
    assert all(f.cosine == 0 for f in compare(TAPS, found, features()))


def test_nan_is_refused() -> None:
    found = features()
    found[0][0, 0, 0, 0] = np.nan
    judged = judge(replace(report(), fidelity=compare(TAPS, found, features())), 0.9)
    assert [gate for gate, _ in judged.failures] == ["cosine"]
    assert "stride16/a" in judged.failures[0][1]


def tracked(success: float) -> Tracking:
    return Tracking(12, 3, 78.0, success, 78.0, 50.0, (0.4, 0.5))


@pytest.mark.parametrize(
    ("changed", "gate"),
    [
        ({}, None),
        ({"graph": Graph({"CONV": 4}, {"CONV": 1}, 1, ("block3.CONV_9",))}, "float islands"),
        ({"graph": Graph({"CONV": 4}, {}, 3)}, "partitions"),
        ({"graph": Graph({"CONV": 4}, {}, None)}, None),
        ({"tracking": tracked(48.9)}, "tracking"),
        ({"tracking": tracked(49.1)}, None),
        ({"tracking": tracked(float("nan"))}, "tracking"),
        ({"fidelity": (Fidelity("stride16/a", float("nan"), float("nan"), 30.0),)}, "cosine"),
    ],
)
def test_each_gate_refuses_what_it_is_for(changed: dict[str, object], gate: str | None) -> None:
    failures = judge(replace(report(), **changed), 0.9).failures  # type: ignore[arg-type]
    assert [name for name, _ in failures] == ([gate] if gate else [])


@pytest.mark.parametrize(("p50", "words"), [(1.0, "int8 pays"), (1.97, "does not pay"), (3.0, "does not pay")])
def test_it_says_plainly_whether_int8_pays(p50: float, words: str) -> None:
    verdict = report(p50).verdict
    assert words in verdict
    assert "a processor" in verdict


def test_reports_hold_all_figures(tmp_path: Path) -> None:
    judged = judge(replace(report(), tracking=tracked(40.0)), 0.9)
    write_report(judged, tmp_path / "r.json")
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["tracking"]["success"] == 40.0
    assert data["failures"][0][0] == "tracking"
    assert "pays" in data["verdict"]
    write_report(judged, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert text == markdown(judged) + "\n"
    for part in ("stride16/b", "Refused", "40.0", "Delegate partitions: 1", "bytes | 100 | 400"):
        assert part in text


def test_an_unwritable_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_report(report(), tmp_path / "none" / "r.md")
