"""The command line, called in this process: what it writes, and that errors are one line and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from edge_tracker.boxes import iou
from edge_tracker.cli import main
from edge_tracker.video.synthetic import WHOLE, SyntheticClip
from tests.conftest import Clip
from tests.footage import count_frames

LONG = "y" * 300  # no file system takes a name of that length


def test_track_writes_all_it_was_asked_for(video: Path, clip: Clip, tmp_path: Path) -> None:
    outputs = {name: tmp_path / f"o.{name}" for name in ("mp4", "jsonl", "csv", "mot", "png")}
    arguments = ["--source", str(video), "--init", clip.init, "--quiet"]
    for path in outputs.values():
        arguments += ["--output", str(path)]
    assert main(arguments) == 0
    records = [json.loads(line) for line in outputs["jsonl"].read_text().splitlines()]
    assert [record["index"] for record in records] == list(range(30))
    assert set(records[0]) == {"index", "time_s", "target", "box", "confidence", "state"}
    assert iou(np.array([r["box"] for r in records]), clip.boxes[:30]).mean() > 0.6
    assert count_frames(outputs["mp4"]) == 30
    assert len(outputs["csv"].read_text().splitlines()) == 31
    assert len(outputs["mot"].read_text().splitlines()) == 30
    assert len(list(tmp_path.iterdir())) == 5


def test_track_is_the_default_command(video: Path, clip: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--source", str(video), "--init", clip.init, "--max-frames", "3", "--quiet", "--output", "-"]
    assert main(arguments) == 0
    short = capsys.readouterr().out
    assert main(["track", *arguments]) == 0
    assert capsys.readouterr().out == short
    assert len(short.splitlines()) == 3


@pytest.mark.parametrize(
    ("tracker", "settings"),
    [
        ("fmst", ["roi_scale=3", "fraction=0.3"]),
        ("accurate", ["roi_scale=3", "box.trust=0,0,0"]),
        ("fast", ["place.views=2"]),
    ],
)
def test_settings_reach_the_tracker(
    tracker: str, settings: list[str], video: Path, clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--source", str(video), "--init", clip.init, "--max-frames", "5", "--quiet", "--output", "-"]
    lines = []
    for extra in ([], ["--seed", "3"], *(["--set", setting] for setting in settings)):
        assert main([*arguments, "--tracker", tracker, *extra]) == 0
        lines.append(capsys.readouterr().out)
    assert len(set(lines)) == len(settings) + 2


def test_eval_writes_boxes_summary_and_plots(otb_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["eval", "--data", str(otb_folder), "--out", str(out), "--quiet"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary) == {"precision", "success", "fps", "frames", "tasks", "truth"}
    assert 0 <= summary["precision"] <= 1
    assert {p.name for p in out.iterdir()} == {
        "Alpha.txt",
        "Beta.1.txt",
        "Beta.2.txt",
        "summary.json",
        "precision.png",
        "success.png",
    }
    for plot in ("precision.png", "success.png"):
        assert (out / plot).read_bytes().startswith(b"\x89PNG")


def test_eval_of_some_sequences_in_two_processes(otb_folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(otb_folder), "--sequences", "Beta.2", "--jobs", "2", "--out", str(tmp_path), "--quiet"]
    assert main(["eval", *arguments]) == 0
    assert set(json.loads((tmp_path / "summary.json").read_text())["tasks"]) == {"Beta.2"}


def test_eval_of_losses(otb_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--data", str(otb_folder), "--sequences", "Alpha", "--protocol", "loss", "--jobs", "2"]
    assert main(["eval", *arguments, "--out", str(out), "--quiet"]) == 0
    summary = json.loads((out / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (summary["protocol"], summary["clips"]) == ("loss", 5)
    assert set(summary["kinds"]) == {"black", "cut", "exit", "frozen", "occlusion"}
    assert summary["absences_held"] == 4
    assert summary["truth"]["found_within_15"] == summary["found_after"]["within_15"]
    # Of frames that show a part of the target, only one of the two counts all.
    assert summary["truth"]["false_lost"] == pytest.approx(summary["false_lost"], rel=0.05)
    assert summary["kinds"]["black"]["lost_after"]["median"] == 0
    assert summary["kinds"]["black"]["found_after"]["within_15"] == 1
    for name in ("roc", "reliability", "lost_after", "found_after"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    lines = (out / "Alpha-black.csv").read_text().splitlines()
    assert lines[0] == "frame,x,y,w,h,confidence,state,update_ms,visible"
    black = [line for line in lines if line.endswith(",0.0000")]
    assert len(black) >= 15
    assert all(",LOST," in line for line in black)


@pytest.mark.parametrize(("protocol", "runs"), [("sre", 12), ("tre", 1)])
def test_eval_of_robustness(protocol: str, runs: int, otb_folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(otb_folder), "--sequences", "Alpha", "--protocol", protocol, "--out", str(tmp_path)]
    assert main(["eval", *arguments, "--quiet"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["protocol"] == protocol
    assert 0 <= summary["truth"]["wrong_while_tracked"] <= 1
    assert summary["ratio"] == pytest.approx(summary["success"] / summary["ope_success"])
    assert summary["tasks"]["Alpha"]["runs"] == runs  # its 12 frames are too few for a second segment
    assert len(list(tmp_path.glob("Alpha*.txt"))) == runs + 1
    assert (tmp_path / "success.png").read_bytes().startswith(b"\x89PNG")


def test_demo_tracks_its_own_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"demo.mp4", "demo.jsonl", "demo.png"}
    clip = SyntheticClip(frames=WHOLE)
    records = [json.loads(line) for line in (tmp_path / "demo" / "demo.jsonl").read_text().splitlines()]
    assert len(records) == count_frames(tmp_path / "demo" / "demo.mp4") == WHOLE
    overlap = iou(np.array([record["box"] for record in records]), clip.boxes)
    lost = np.array([record["state"] == "LOST" for record in records])
    assert overlap[:120].mean() > 0.6  # then it is hidden, and leaves
    said = capsys.readouterr().err
    seen, away = clip.visible >= 0.5, clip.visible == 0
    assert f"mean IoU {overlap[seen].mean():.2f}" in said
    assert f"lost in {lost.sum()} frames: {lost[away].sum()} of the {away.sum()} without the target" in said
    sheet = cv2.imread(str(tmp_path / "demo" / "demo.png"))
    assert sheet is not None
    assert sheet.shape == (5 * 180, 6 * 240, 3)  # 30 tiles


def test_demo_says_when_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("edge-track: cannot make the folder")


def test_models_list_path_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    for name in ("mobilenetv3-small", "vgg16", "edge-small"):
        assert name in listed
    for word in (
        "training  ",
        "teacher   mobilenetv3-small",
        "likeness  ",
        "command   python",
        "tracking  fmst: precision",
    ):
        assert word in listed
    assert main(["models", "path", "edge-small"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()
    assert main(["models", "verify"]) == 0
    assert "SHA-256 as on its card" in capsys.readouterr().out


def test_models_verify_sees_a_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    from edge_tracker.backbones.catalogue import PACKAGED

    for name in ("edge-small.onnx", "edge-small.onnx.json"):
        shutil.copy(PACKAGED / name, tmp_path)
    card = tmp_path / "edge-small.onnx.json"
    card.write_text(card.read_text().replace('"bytes": ', '"bytes": 1'))
    assert main(["models", "verify", "edge-small", "--models-dir", str(tmp_path)]) == 2
    assert "DIFFERS" in capsys.readouterr().out
    assert main(["doctor", "--models-dir", str(tmp_path)]) == 2
    assert "BROKEN" in capsys.readouterr().out
    card.write_text("{")
    assert main(["doctor", "--models-dir", str(tmp_path)]) == 2
    assert "BROKEN" in capsys.readouterr().out


def test_device_cuda_falls_back_with_one_line(
    video: Path, clip: Clip, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ["--source", str(video), "--init", clip.init, "--tracker", "fast", "--model", "edge-small"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has a CUDA provider")
    assert main([*arguments, "--device", "cuda", "-o", str(tmp_path / "cuda.jsonl")]) == 0
    lines = [record.getMessage() for record in caplog.records if "running on the processor" in record.getMessage()]
    assert len(lines) == 1


def test_doctor_tells_versions_engines_models_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    for word in ("numpy", "onnxruntime", "CPU:", "CUDA (--device cuda):", "edge-small", "ms a crop"):
        assert word in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "missing.mp4", "--init", "1,2,3,4"],
        ["--source", "missing.mp4"],
        ["--camera", "62", "--init", "1,2,3,4"],
        ["--camera", "-1", "--init", "1,2,3,4"],
        ["eval", "--data", "missing", "--out", "out"],
        ["models", "path", "nonsense"],
        ["models", "path", "vgg16"],
        ["models", "path", "vgg16", "--models-dir", "missing"],
        ["--source", "two\nlines.mp4", "--init", "1,2,3,4"],
        ["--source", LONG, "--init", "1,2,3,4"],
        ["--source", f"file:{LONG}", "--init", "1,2,3,4"],
        ["--source", "0", "--init", "1,2,3,4", "--model", f"./{LONG}"],
        ["--source", "0", "--init", "1,2,3,4", "--models-dir", LONG],
        ["eval", "--data", LONG, "--out", "out"],
        ["models", "list", "--models-dir", LONG],
        ["models", "list", "--models-dir", "missing"],
        ["models", "verify", "--models-dir", "missing"],
        ["doctor", "--models-dir", "missing"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_errors_are_one_line_and_exit_code_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("edge-track: ")


@pytest.mark.parametrize("kind", ["csv:{}", "{}.csv", "{}.mp4", "{}.png", "log:{}"])
def test_an_output_that_the_system_refuses_is_one_line(
    kind: str, video: Path, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = kind.format(tmp_path / LONG)
    assert main(["--source", str(video), "--init", clip.init, "--output", place, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "too long" in line


@pytest.mark.parametrize(
    "options",
    [
        ["--output", "jsonl:."],
        ["--output", "csv:/"],
        ["--output", "mot:.."],
        ["--state", "."],
        ["--state", "/"],
        ["--state", ".."],
    ],
    ids=" ".join,
)
def test_a_folder_is_no_file_to_write(
    options: list[str], video: Path, clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "rtsp://127.0.0.1:9/x" if options[0] == "--state" else str(video)
    assert main(["--source", source, "--init", clip.init, "--quiet", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it is a folder" in line


def test_what_standard_output_cannot_spell_is_escaped(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[[camera]]\nname = "über"\nsource = "rtsp://camera/x"\n', encoding="utf-8")
    command = [sys.executable, "-m", "edge_tracker", "config", "check", str(config)]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"\xfcber" in done.stdout


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["settings"]], ids=" ".join)
def test_output_that_is_lost_is_an_error(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_tracker", *arguments], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert done.stderr == b"edge-track: No space left on device\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--init", "1,2,3,4"],
        ["--source", "x", "--camera", "0", "--init", "1,2,3,4"],
        ["--source", "x", "--init", "motion:x"],
        ["--source", "x", "--init", "1,2,3"],
        ["--source", "x", "--init", "a,b,c,d"],
        ["--source", "x", "--init", "-5"],
        ["--source", "x", "--init", "1,2,3,4", "--max-frames", "0"],
        ["--source", "x", "--init", "1,2,3,4", "--tracker", "nonsense"],
        ["--source", "x", "--init", "1,2,3,4", "--threads", "1000000"],
        ["models", "pull", "edge-small"],
        ["eval", "--data", "x", "--out", "x", "--clips-seed", "-1"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_misuse_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("box", ["-inf,1,5,5", "-nan,1,5,5", "1,2,3,inf", "-x,1,5,5", "NAME=-inf,1,5,5"])
def test_a_box_that_is_none_is_named(box: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--source", "x", "--init", box])
    (line,) = capsys.readouterr().err.splitlines()
    assert repr(box) in line


@pytest.mark.parametrize("name", ["--source", "--output", "--model", "--models-dir", "--state", "--init", "--set"])
def test_the_character_0_is_refused(name: str, video: Path, clip: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--source": str(video), "--init": clip.init} | {name: "a\0.csv"}
    assert main([word for pair in given.items() for word in pair]) == 2
    assert main(["eval", "--data", "a\0", "--out", "x"]) == 2
    assert capsys.readouterr().err.splitlines() == ["edge-track: an argument holds the character 0"] * 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tracker", "fmst", "--set", "fraction=2"], "fraction is a number above 0 and at most 1, not 2"),
        (["--tracker", "fmst", "--set", "averaged=900"], "cannot average 900 of 600"),
        (["--tracker", "fmst", "--set", "fractoin=0.2"], "did you mean 'fraction'?"),
        (["--tracker", "accurate", "--set", "fraction=0.2"], "there is no setting 'fraction'"),
        (["--tracker", "accurate", "--set", "belief.lost_after=0"], "belief.lost_after is a whole number between 1"),
        (["--tracker", "accurate", "--set", "belief.lost_afetr=8"], "did you mean 'belief.lost_after'?"),
        (["--tracker", "accurate", "--set", "belief=8"], "belief is a group of settings"),
        (["--tracker", "accurate", "--set", "roi_scale"], "a setting is NAME=VALUE"),
        (["--tracker", "accurate", "--set", "roi_scale=nan"], "roi_scale is a number between"),
        (["--seed", "-1"], "seed is a whole number"),
        (["--seed", str(2**70)], "seed is a whole number"),
    ],
    ids=" ".join,
)
def test_a_wrong_setting_is_named(
    arguments: list[str], says: str, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--source", str(video), "--init", "1,2,30,40", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("edge-track: ")
    assert len(said.splitlines()) == 1
    assert says in said
