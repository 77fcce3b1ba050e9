"""Importing the package must stay cheap: NumPy and nothing heavier."""

from __future__ import annotations

import subprocess
import sys


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"cv2", "onnxruntime", "onnx", "torch", "matplotlib", "tqdm", "threadpoolctl", "scipy"}


def test_the_package_loads_numpy_alone() -> None:
    modules = loaded_by("import edge_tracker; edge_tracker.TrackState; edge_tracker.FmstConfig()")
    assert "numpy" in modules
    assert not modules & HEAVY


def test_the_numpy_steps_need_no_opencv() -> None:
    steps = "target_map channel_scores channel_weights prediction_map candidates"
    modules = loaded_by("; ".join(f"import edge_tracker.fmst.{step}" for step in steps.split()))
    assert not modules & HEAVY


def test_every_public_name_is_there() -> None:
    import edge_tracker

    for name in edge_tracker.__all__:
        assert getattr(edge_tracker, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    import edge_tracker

    assert not hasattr(edge_tracker, "nonsense")
