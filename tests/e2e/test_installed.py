"""The package as installed: its command, and a wheel that has all it needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_tracker.boxes import iou
from tests.conftest import ROOT, Clip


def test_the_command_is_on_the_path(video: Path, clip: Clip, tmp_path: Path) -> None:
    command = shutil.which("edge-track", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("the package is not installed in this environment")
    arguments = ["--source", str(video), "--init", clip.init, "--output", str(tmp_path / "o.jsonl")]
    done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=120, check=True)
    assert "30 frames" in done.stderr
    boxes = [json.loads(line)["box"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert iou(np.array(boxes), clip.boxes[:30]).mean() > 0.6


def test_the_wheel_holds_the_model_and_the_type_marker(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "edge_tracker/models/edge-small.onnx",
        "edge_tracker/models/edge-small.onnx.json",
        "edge_tracker/models/edge-small.head.safetensors",
        "edge_tracker/py.typed",
    } <= names
    assert not [name for name in names if not name.startswith(("edge_tracker/", "edge_tracker-"))]
