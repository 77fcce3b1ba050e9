"""The command line of the converters: what it refuses, and that it then writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("onnxscript", reason="conversion needs onnxscript (extra 'convert-onnx')")

from calibration.crops import Crops
from converters import cli
from converters.fingerprint import of_graph, of_trunk
from converters.plan import Network, Plan
from converters.to_onnx import OnnxWriter, main
from converters.trunks import TRUNKS, load_trunk
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.engines import load_backbone
from tests.conftest import Clip

NETWORK = ["--model", "mobilenetv3-small", "--random-weights"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "needs footage"),
        (["--output", "m.tflite"], ".onnx file"),
        (["--output", "none/m.onnx"], "no folder"),
        (["--crops", "a.safetensors", "--frames", "b.mp4"], "not both"),
        (["--crops", "none.safetensors"], "none.safetensors"),
        (["--frames", "none.mp4"], "none.mp4"),
        (["--keep-float", "stem"], "int8-mixed"),
        (["--report", "r.txt"], "--report"),
        (["--data", "none"], "none"),
        (["--seeds", "0"], "--seeds"),
        (["--weights", "w.pth"], "--weights"),
    ],
)
def test_a_bad_command_is_one_line_and_writes_nothing(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*NETWORK, "--output", "m.onnx", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("to_onnx: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_weights_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, link = tmp_path / "m.onnx", tmp_path / "link.onnx"
    path.write_bytes(b"weights")
    link.symlink_to(path)
    assert main(["--model", "mobilenetv3-small", "--weights", str(path), "--output", str(link)]) == 2
    assert "would overwrite --weights" in capsys.readouterr().err
    assert path.read_bytes() == b"weights"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "two\nlines"), KeyboardInterrupt()])
def test_what_comes_from_outside_is_one_line(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "convert", fail)
    code = main([*NETWORK, "--output", str(tmp_path / "m.onnx")])
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert capsys.readouterr().err.count("\n") == 1


def test_crops_of_another_size_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.safetensors"
    Crops(np.zeros((2, 32, 32, 3), np.uint8), np.array([True, False]), np.array(["a", "a"])).save(path)
    assert main([*NETWORK, "--output", str(tmp_path / "m.onnx"), "--crops", str(path)]) == 2
    assert "32 px" in capsys.readouterr().err


def test_int8_passes_or_is_refused_with_its_figures(
    crops_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One candidate, two limits: the gate alone decides."""
    output, report = tmp_path / "m.int8.onnx", tmp_path / "report.json"
    options = [*NETWORK, "--precision", "int8-mixed", "--crops", str(crops_file)]
    options += ["--output", str(output), "--report", str(report)]
    assert main([*options, "--min-cosine", "1.0"]) == 2
    error = capsys.readouterr().err
    assert "is not written: cosine to float under 1" in error
    assert not output.exists()
    figures = json.loads(report.read_text())
    assert figures["failures"][0][0] == "cosine"
    cosines = [layer["cosine"] for layer in figures["fidelity"]]
    assert len(cosines) == 5

    assert main([*options, "--min-cosine", "1.0", "--force"]) == 0
    forced = ModelCard.read(output)
    assert forced is not None
    assert forced.failed_gates == ("cosine",)
    assert forced.describes(output)
    assert load_backbone(output, EngineOptions(taps=PURPOSES)).info.precision == "int8-mixed"
    assert load_backbone(output).info.fingerprint == forced.fingerprint == random_trunk()

    assert main([*options, "--min-cosine", str(min(cosines) - 1e-6)]) == 0
    passed = ModelCard.read(output)
    assert passed is not None
    assert passed.failed_gates == ()
    assert passed.measured is not None
    assert passed.measured.engine == "onnxruntime"
    assert min(passed.measured.p50_ms, passed.measured.fp32_p50_ms, passed.measured.packaged_p50_ms) > 0


def random_trunk() -> str:
    """The fingerprint of NETWORK."""
    return of_trunk(load_trunk("mobilenetv3-small", None), TRUNKS["mobilenetv3-small"])


def test_fp16_is_half_the_size_and_as_good(tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        output = tmp_path / f"{precision}.onnx"
        assert main([*NETWORK, "--precision", precision, "--output", str(output)]) == 0
        sizes[precision] = output.stat().st_size
        assert load_backbone(output).info.fingerprint == random_trunk()
        assert of_graph(onnx.load(str(output))) == random_trunk()  # what it states is what it holds
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_an_unknown_part_to_keep_names_the_known_ones(
    crops_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--precision", "int8-mixed", "--crops", str(crops_file), "--keep-float", "stem", "block77"]
    assert main([*NETWORK, *options, "--output", str(tmp_path / "m.onnx")]) == 2
    error = capsys.readouterr().err
    assert "block77" in error
    assert "block1, block2" in error


class Broken(OnnxWriter):
    """Writes what no engine loads."""

    def write(self, network: Network, plan: Plan, path: Path) -> None:
        path.write_bytes(b"no model")


class Truncated(OnnxWriter):
    """Writes a file whose end is missing."""

    def write(self, network: Network, plan: Plan, path: Path) -> None:
        super().write(network, plan, path)
        path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize("writer", [Broken(), Truncated()])
def test_a_file_that_does_not_run_in_a_fresh_process_is_refused(
    writer: OnnxWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(writer, [*NETWORK, "--output", str(tmp_path / "m.onnx")]) == 2
    assert "fresh process" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_tracking_is_measured_where_sequences_are_given(
    otb_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.onnx"
    options = ["--data", str(otb_folder), "--sequences", "Alpha", "--seeds", "1", "--report", str(tmp_path / "r.json")]
    assert main([*NETWORK, *options, "--output", str(output)]) == 0
    tracking = json.loads((tmp_path / "r.json").read_text())["tracking"]
    assert tracking["tasks"] == 1
    assert tracking["success"] == tracking["fp32_success"]  # the same file twice
    output.unlink()
    assert main([*NETWORK, *options, "--output", str(output), "--max-drop", "-0.1"]) == 2
    assert "success falls" in capsys.readouterr().err
    assert not output.exists()


def test_footage_that_shows_too_little_is_refused_before_the_work(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "still").mkdir()
    for index in range(6):
        cv2.imwrite(str(tmp_path / "still" / f"{index:03d}.png"), clip.images[index])
    (tmp_path / "still.txt").write_text("100,80,44,44\n" * 6)
    monkeypatch.setattr(OnnxWriter, "write", lambda *_: pytest.fail("it began to convert"))
    options = ["--precision", "int8", "--frames", str(tmp_path / "still"), "--output", str(tmp_path / "m.onnx")]
    assert main([*NETWORK, *options]) == 2
    assert "different crops to calibrate with, at least 8 are needed" in capsys.readouterr().err
