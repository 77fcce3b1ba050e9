"""`edge-track models` and `doctor`: what is broken is told, and ends nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_tracker.backbones.catalogue import HEAD, PACKAGED, WEIGHT_NETWORK, variants
from edge_tracker.cli import main
from tests.conftest import restated


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of models: edge-small as it is packaged, with all that belongs to it."""
    for ending in (".onnx", ".onnx.json", HEAD, WEIGHT_NETWORK):
        shutil.copy(PACKAGED / f"edge-small{ending}", tmp_path)
    return tmp_path


BROKEN_CARDS = {
    "no JSON": "{",
    "nested": '{"model":' * 100_000,
    "precision": json.dumps({"precision": 8}),
    "time": '{"measured": {"packaged_p50_ms": 0}}',
    "huge": '{"bytes": 1e400}',
    "too large": "[" + " " * (2 << 20) + "]",
}


@pytest.mark.parametrize("kind", BROKEN_CARDS)
def test_a_broken_card_is_told_and_ends_nothing(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "edge-small.onnx.json").write_text(BROKEN_CARDS[kind])
    for command, code in ((["models", "list"], 0), (["doctor"], 2), (["models", "verify"], 2)):
        assert main([*command, "--models-dir", str(folder)]) == code
        said = capsys.readouterr()
        assert not said.err
        (told,) = [line for line in said.out.splitlines() if "BROKEN" in line]
        assert "edge-small.onnx.json" in told
        assert "edge-large.onnx" in said.out  # what is whole is listed, loaded and verified all the same


def test_whole_files_are_verified_with_what_belongs_to_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "edge-small", "--models-dir", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "BROKEN" not in said
    here = len(variants("edge-small", folder))
    assert here >= 2  # in this folder, and in the package
    assert said.count("bytes and SHA-256 as on its card") == here
    for what, ending in (("head", HEAD), ("weight network", WEIGHT_NETWORK)):
        assert f"the {what} {folder / f'edge-small{ending}'} belongs to it" in said


def test_every_file_is_looked_at_whatever_is_wrong_with_another(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed model, a head cut short, a file that no engine loads."""
    (folder / f"edge-small{HEAD}").write_bytes(b"cut short")
    (folder / "edge-large.onnx").write_bytes(b"no model")
    path = folder / "edge-small.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert main(["models", "verify", "--models-dir", str(folder)]) == 2
    broken = [line for line in capsys.readouterr().out.splitlines() if "BROKEN" in line]
    assert any(str(path) in line and "DIFFERS" in line for line in broken)
    assert any("edge-large.onnx" in line for line in broken)
    # The head that lies first would be the packaged model's too.
    assert any(
        str(PACKAGED / "edge-small.onnx") in line and str(folder / f"edge-small{HEAD}") in line for line in broken
    )
    assert all(str(folder) in line for line in broken)


def test_a_strangers_head_is_told_to_be_none_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    restated(tmp_path / "edge-small.onnx", '"fingerprint": "704cbc73', '"fingerprint": "12345678')
    assert main(["models", "verify", "edge-small", "--models-dir", str(tmp_path)]) == 0
    assert f"the head {PACKAGED / f'edge-small{HEAD}'} is not its own" in capsys.readouterr().out


def test_nothing_is_downloaded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "pull", "vgg16"])
    assert main(["models", "list"]) == 0
    assert "to get it: in a checkout: python converters/downloads.py vgg16" in capsys.readouterr().out
