"""Files of a model get their names together or not at all; errors are one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the converters need onnx")

from converters.files import exit_code, write_together
from edge_tracker.errors import ModelError, OutputError


def test_all_files_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "m.xml", tmp_path / "m.bin"
    first.write_bytes(b"old")
    second.with_name("m.partial.bin").mkdir()  # nothing can be written there
    with pytest.raises(OutputError, match=r"cannot write .*m\.bin") as caught:
        write_together({first: b"new", second: b"weights"})
    assert "\n" not in str(caught.value)
    assert first.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.partial.bin", "m.xml"]
    second.with_name("m.partial.bin").rmdir()
    write_together({first: b"new", second: b"weights"})
    assert (first.read_bytes(), second.read_bytes()) == (b"new", b"weights")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.xml"]


def test_an_error_becomes_a_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise ModelError("no such thing")

    assert exit_code("to_onnx", fails) == 2
    assert capsys.readouterr().err == "to_onnx: no such thing\n"
    assert exit_code("to_onnx", lambda: None) == 0
