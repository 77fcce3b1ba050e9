"""A converter without what it needs says so in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("target", ["onnx", "openvino", "tflite"])
def test_what_is_not_installed_is_named_with_its_extra(target: str) -> None:
    command = [sys.executable, "-E", "-S", f"converters/to_{target}.py", "--help"]  # as if nothing were installed
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"to_{target}: torch, onnx")
    assert line.endswith(f"pip install -e '.[convert-{target}]'")
