"""scripts/bench.py on two short sequences with the packaged model: its parts, its table, and that it goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def bench(otb_folder: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), "--data", str(otb_folder), "--models", "edge-small"]
    return subprocess.run(
        [*command, "--trackers", "fmst", "--out", str(out), *options], capture_output=True, text=True, timeout=300
    )


def cells(table: str) -> dict[str, str]:
    """Column -> cell of the first tracker's row."""
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return {title.strip(): cell.strip() for title, cell in zip(lines[0], lines[2], strict=True)}


@pytest.fixture(scope="module")
def results(otb_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    done = bench(otb_folder, out, "--parts", "accuracy", "memory", "--sequences", "Alpha")
    assert done.returncode == 0, done.stderr
    return out


def test_a_table_of_the_parts_that_were_run(results: Path) -> None:
    row = cells((results / "bench.md").read_text())
    assert row["tracker"] == "fmst edge-small"
    assert 50 < float(row["success %"]) <= 100
    assert row["updates per second"] == row["re-found within 15 frames (% of absences)"] == "-"
    if sys.platform == "linux":
        assert 5 < float(row["memory added MB"]) < 500


def test_what_is_kept_is_used_again_and_parts_are_added(otb_folder: Path, results: Path) -> None:
    kept = results / "accuracy" / "fmst-edge-small" / "Alpha.csv"
    before, written = cells((results / "bench.md").read_text()), kept.stat().st_mtime_ns
    options = (
        "--sequences",
        "Alpha",
        "--loss-data",
        str(otb_folder),
        "--parts",
        "accuracy",
        "speed",
        "loss",
        "--split",
    )
    done = bench(otb_folder, results, *options)
    assert done.returncode == 0, done.stderr
    assert kept.stat().st_mtime_ns == written
    text = (results / "bench.md").read_text()
    after = cells(text)
    for column in ("success %", "memory added MB"):
        assert after[column] == before[column]
    assert float(after["updates per second"]) > 0
    assert 0 <= float(after["re-found within 15 frames (% of absences)"]) <= 100
    assert "fmst edge-small: state" in text
    assert "FMST, ms per update" in text
    assert (results / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_errors_are_one_line(otb_folder: Path, tmp_path: Path) -> None:
    for options in (["--parts", "loss"], ["--trackers", "nonsense"], ["--sequences", "Gamma"]):
        done = bench(otb_folder, tmp_path, *options)
        assert done.returncode == 2
        assert done.stderr.startswith("bench: ")
        assert len(done.stderr.splitlines()) == 1
