"""Any user, any place: no home, no entry in passwd, one processor; and nothing goes out that was not asked for."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.footage import INIT

TRACKED = ["--source", "base", "--init", INIT, "--tracker", "fast", "--quiet", "--max-frames", "5", "--output", "-"]


def environment(home: Path | None, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")}
    return {**kept, "PYTHONPATH": str(ROOT), **({} if home is None else {"HOME": str(home)}), **more}


def edge_track(*arguments: str, prefix: tuple[str, ...] = (), **options: object) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-m", "edge_tracker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_nothing_is_written_into_an_empty_home(base_folder: Path, tmp_path: Path) -> None:
    done = edge_track(*TRACKED, env=environment(tmp_path), cwd=_beside(base_folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 5
    assert not list(tmp_path.rglob("*"))


def test_no_connection_is_opened_and_no_name_looked_up(base_folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime's first look-up comes some nine seconds after its start: the tracker is kept busy for longer."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    program = (
        "import cv2, time; from edge_tracker import Tracker; t = Tracker('fast')\n"
        f"image = cv2.imread({str(base_folder / '0000.png')!r}); t.init(image, ({INIT}))\n"
        "end = time.monotonic() + 12\n"
        "while time.monotonic() < end: t.update(image); time.sleep(0.05)\n"
    )
    trace = tmp_path / "trace"
    command = [strace, "-f", "-q", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)]
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [*command, sys.executable, "-c", program], env=environment(home), capture_output=True, timeout=180, check=False
    )
    if b"ptrace" in done.stderr:
        pytest.skip("processes cannot be traced here")
    assert done.returncode == 0, done.stderr
    assert [line for line in trace.read_text().splitlines() if "AF_INET" in line or "sin" in line] == []
    assert not list(home.rglob("*"))


def test_runtimes_that_phone_home_are_imported_in_one_place_each() -> None:
    """`ort.py` and `ov.py` switch it off before the import; NNCF must come after `ov.py`."""
    own = {"onnxruntime": "edge_tracker/backbones/ort.py", "openvino": "edge_tracker/backbones/ov.py"}
    found: dict[str, set[str]] = {name: set() for name in (*own, "nncf")}
    for room in ("edge_tracker", "converters", "calibration", "scripts"):
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    modules = [node.module]
                for module in modules:
                    if module in found:
                        found[module].add(str(path.relative_to(ROOT)))
    assert found["onnxruntime"] == {own["onnxruntime"]}
    assert found["openvino"] == {own["openvino"]}
    for name in found["nncf"]:
        assert "from edge_tracker.backbones.ov import openvino" in (ROOT / name).read_text()


def test_the_switch_is_set_before_the_runtime_is_imported() -> None:
    program = "import os, edge_tracker.evaluation.nanotrack; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", program], env=environment(None), capture_output=True, check=True)
    assert done.stdout.strip() == b"1"


@pytest.mark.parametrize("command", [TRACKED, ["models", "list"], ["demo", "--quiet", "--tracker", "fast"], ["auto"]])
def test_a_user_without_a_home_or_an_entry_in_passwd(command: list[str], base_folder: Path, tmp_path: Path) -> None:
    """NousResearch/hermes-agent#108356, dalibo/pandocker#140: `docker run -u 1234`, systemd's DynamicUser."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("needs root and setpriv to become a user without an entry in passwd")
    capabilities = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    prefix = (setpriv, "--reuid=12345", "--regid=12345", "--clear-groups", *capabilities)
    tmp_path.chmod(0o777)
    if command == ["demo", "--quiet", "--tracker", "fast"]:
        command = [*command, "--out", str(tmp_path / "demo")]
    if command == ["auto"]:  # measured, and not kept
        command = [word for word in TRACKED if word not in ("--tracker", "fast")]
    done = edge_track(*command, prefix=prefix, env=environment(None), cwd=_beside(base_folder))
    assert done.returncode == 0, done
    assert done.stderr == ""


@pytest.mark.parametrize("home", ["/sys", "/nonexistent", "/dev/null"])
def test_a_home_that_cannot_be_written(home: str, base_folder: Path) -> None:
    arguments = [word for word in TRACKED if word not in ("--tracker", "fast")]
    done = edge_track(*arguments, env=environment(Path(home)), cwd=_beside(base_folder))
    assert (done.returncode, done.stderr) == (0, "")


def test_one_processor(base_folder: Path, tmp_path: Path) -> None:
    taskset = shutil.which("taskset")
    if taskset is None:
        pytest.skip("taskset is not installed")
    arguments = [*TRACKED, "--threads", "4"]
    done = edge_track(*arguments, prefix=(taskset, "-c", "0"), env=environment(tmp_path), cwd=_beside(base_folder))
    assert (done.returncode, done.stderr) == (0, "")


def _beside(base_folder: Path) -> Path:
    """A folder in which the base clip is called `base`."""
    link = base_folder.parent / "base"
    if not link.exists():
        link.symlink_to(base_folder)
    return link.parent
