"""What is shipped is listed: every model file, every dependency, with a licence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_tracker.backbones.cards import sha256_of
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.cli import main as edge_track
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import sbom


def shipped() -> set[str]:
    return {path.name for path in PACKAGED.iterdir() if path.suffix not in (".json", ".bin")}


def test_the_document_lists_every_model_file_and_what_the_package_needs() -> None:
    text = (ROOT / "docs" / "licences.md").read_text()
    assert [name for name in sorted(shipped()) if f"| {name} |" not in text] == []
    assert [name for name in sbom.requirements() if f"| {name} |" not in text] == []


def test_every_model_file_is_ours_to_give() -> None:
    files = sbom.model_files()
    assert {path.name for path, _, _ in files} == shipped()
    assert {licence for _, licence, _ in files} == {"Apache-2.0"}


def test_a_file_that_nobody_knows_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(PACKAGED / "edge-small.onnx", tmp_path / "stranger.onnx")
    monkeypatch.setattr(sbom, "PACKAGED", tmp_path)
    with pytest.raises(SystemExit, match=r"stranger\.onnx"):
        sbom.model_files()


def test_models_join_an_sbom_with_their_hashes(tmp_path: Path) -> None:
    path = tmp_path / "sbom.cdx.json"
    path.write_text(
        '{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "name": "x"}]}'
    )
    assert sbom.main(["add-models", str(path)]) == 0
    components = json.loads(path.read_text())["components"]
    assert components[0]["name"] == "x"
    hashes = {c["name"]: c["hashes"][0]["content"] for c in components[1:]}
    assert hashes == {name: sha256_of(PACKAGED / name) for name in shipped()}
    assert {c["type"] for c in components[1:]} == {"machine-learning-model"}


def test_the_version_names_the_packaged_models(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        edge_track(["--version"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("edge-track ")
    for name in ("edge-small", "edge-large"):
        fingerprint = json.loads((PACKAGED / f"{name}.onnx.json").read_text())["fingerprint"]
        assert f"  {name} {fingerprint[:12]}" in lines


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["make_deb.sh"], "--suite is trixie or bookworm"),
        (["make_deb.sh", "--suite", "sid", "--out", "."], "not 'sid'"),
        (["make_deb.sh", "--suite", "trixie", "--out", "/no/such"], "a folder that exists"),
        (["make_deb.sh", "--suite", "trixie", "--arch", "mips", "--out", "."], "not 'mips'"),
        (["arm_check.sh", "--suite", "sid"], "not sid"),
        (["arm_check.sh", "--fast"], "unknown option --fast"),
        (["release.sh"], "--out is a folder"),
    ],
)
def test_a_script_says_what_is_wrong(command: list[str], message: str) -> None:
    done = subprocess.run(["bash", str(ROOT / "scripts" / command[0]), *command[1:]], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
