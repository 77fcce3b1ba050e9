"""Checkpoints of trainings that were damaged: each is read, or refused in one line. Like test_files.py, with torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile.fuzz import FUZZ, TRUNK, damaged, read_or_refused

torch = pytest.importorskip("torch", reason="checkpoints are torch's")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from training import read_checkpoint

pytestmark = pytest.mark.usefixtures("bounded_memory")


@FUZZ
@given(data=st.data())
def test_checkpoints(data: st.DataObject, folder: Path) -> None:
    whole, path = folder / "whole.pt", folder / "t.checkpoint"
    if not whole.exists():
        torch.save({"training": {"seed": 0, "fingerprint": TRUNK}, "net": {"w": torch.zeros(3, 2)}, "done": 5}, whole)
    path.write_bytes(data.draw(damaged(whole.read_bytes())))
    state = read_or_refused(lambda: read_checkpoint(path, {"seed": 0, "fingerprint": TRUNK}))
    assert state is None or isinstance(state, dict)
