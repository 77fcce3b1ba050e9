"""Importing the package must stay cheap: NumPy and nothing heavier."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {
    *(
        "cv2",
        "onnxruntime",
        "onnx",
        "torch",
        "matplotlib",
        "tqdm",
        "threadpoolctl",
        "scipy",
        "safetensors",
        "av",
        "PIL",
    ),
    *("openvino", "ai_edge_litert", "got10k", "aiohttp", "paho", "prometheus_client"),
}
# Steps and primitives that are NumPy alone: they can be read, tested and reused without OpenCV.
LIGHT = {
    "edge_tracker": "boxes errors files grid images settings track",
    "edge_tracker.closed_form": "belief config refinement_network ridge",
    "edge_tracker.fmst": "candidates channel_scores channel_weights confidence config prediction_map target_map "
    "weight_network",
}


def test_the_package_loads_numpy_alone() -> None:
    modules = loaded_by("import edge_tracker; edge_tracker.TrackState; edge_tracker.FmstConfig()")
    assert "numpy" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("package", sorted(LIGHT))
def test_the_numpy_steps_need_no_opencv(package: str) -> None:
    names = [f"{package}.{step}" for step in LIGHT[package].split()]
    code = "; ".join(f"import {name}" for name in names)
    heavy = loaded_by(code) & HEAVY
    # Which of them is to blame is worth the time only where there is one.
    assert not heavy, {name: loaded_by(f"import {name}") & HEAVY for name in names}


def test_every_public_name_is_there() -> None:
    import edge_tracker

    for name in edge_tracker.__all__:
        assert getattr(edge_tracker, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    import edge_tracker

    assert not hasattr(edge_tracker, "nonsense")
