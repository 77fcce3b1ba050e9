"""Pre-training of FSNet: scenes that belong together, masks as boxes, what is learned, an interrupted run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra 'convert-onnx')")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import fsnet_ablations
import fsnet_devices
import fsnet_stages
import scenes
import train_fsnet as script
import train_vgg_m
from logistic import fit_logistic
from training import checkpoint_path

from converters.trunks import TRUNKS
from edge_tracker.backbones import devices
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.errors import DatasetError
from edge_tracker.fsnet.pretrained import read_pretrained
from tests.conftest import Clip

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


def arguments(footage: Path, output: Path, cycles: int, *more: str) -> list[str]:
    return [
        "--data", str(footage / "boxes"), "--masks", str(footage / "masks"), "--output", str(output),
        "--cycles", str(cycles), "--maps", "32", *more,
    ]  # fmt: skip


def info_of_small() -> object:
    return load_backbone(PACKAGED / "edge-small.onnx", EngineOptions(taps=PURPOSES, height=320, width=320)).info


def test_scenes_that_belong_together_are_held_out_together() -> None:
    names = [
        "SegTrack_bmx", "SegTrack_bmx2", "DAVIS_bmx-trees", "DAVIS_camel", "masks.DAVIS_camel", "UAV_wakeboard5",
        "UAV_wakeboard10", "CDnet_highway_1", "CDnet_highway_2", "vot15_bag", "vot15_ball1",
    ]  # fmt: skip
    folds = [scenes.held_out(names, f"{k}/2") for k in (0, 1)]
    assert folds[0] | folds[1] == set(names)
    assert not folds[0] & folds[1]
    for together in (names[:3], names[3:5], names[5:7], names[7:9]):
        assert sum(bool(fold & set(together)) for fold in folds) == 1
    for count in range(1, len(names)):  # whichever other videos there are
        assert scenes.held_out(names[:count], "0/2") == folds[0] & set(names[:count])
    for wrong in ("2/2", "x", "1"):
        with pytest.raises(DatasetError):
            scenes.held_out(names, wrong)


def test_a_sequence_is_tracked_by_what_has_not_seen_it() -> None:
    names = ["SegTrack_bmx", "DAVIS_camel", "UAV_wakeboard5", "CDnet_highway_1", "vot15_bag", "vot15_ball1"]
    found = scenes.unseen_by(["0/2=a", "1/2=b"], names)
    assert found == {name: Path("ab"[name not in scenes.held_out(names, "0/2")]) for name in names}
    assert set(scenes.unseen_by(["0/2=a"], names)) == scenes.held_out(names, "0/2") < set(names)


def test_boxes_come_from_masks(footage: Path, clip: Clip) -> None:
    (found,) = script.masked_clips(footage / "masks")
    assert (found.name, len(found.frames)) == ("masks.Three", 3)
    np.testing.assert_allclose(found.boxes[:2], clip.boxes[60:68:4], atol=1.0)
    assert np.isnan(found.boxes[2]).all()  # nothing of the target is to be seen


def test_training_separates_and_resumes_bit_for_bit(footage: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert script.main(arguments(footage, whole, 20)) == 0
    visits: list[float] = []

    class Interrupted(Exception):
        pass

    class Stopping(script.Visit):
        def __call__(self, *args: object) -> float:
            if len(visits) == 3 * 12:  # in the second ten cycles, of three videos each
                raise Interrupted
            visits.append(super().__call__(*args))  # type: ignore[arg-type]
            return visits[-1]

    original = script.Visit
    script.Visit = Stopping  # type: ignore[misc]
    try:
        with pytest.raises(Interrupted):
            script.main(arguments(footage, parts, 20))
    finally:
        script.Visit = original  # type: ignore[misc]
    assert checkpoint_path(parts).is_file()
    assert not parts.exists()
    assert np.mean(visits[-6:]) < 0.7 * np.mean(visits[:6])
    assert script.main(arguments(footage, parts, 20)) == 0
    assert parts.read_bytes() == whole.read_bytes()
    found = read_pretrained(whole, info_of_small())  # type: ignore[arg-type]
    assert [w.shape for w in found.w4.values()] == [(9, 672, 512), (9, 184, 512)]


def test_another_training_does_not_go_on_from_the_checkpoint(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.safetensors"
    assert script.main(arguments(footage, output, 10)) == 0
    output.unlink()
    assert script.main(arguments(footage, output, 10, "--rate", "0.02")) == 2
    assert "another training" in capsys.readouterr().err
    assert not output.exists()


def test_folded_batch_norm_answers_the_same() -> None:
    torch.manual_seed(0)
    trained = train_vgg_m.Student("edge-vgg-m", (8, 4)).trunk
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
    plain = TRUNKS["edge-vgg-m"].build()
    plain.load_state_dict(train_vgg_m.folded(trained))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for one, other in zip(plain(x), trained.eval()(x), strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4 * float(other.abs().max()))


def test_logistic_regression_finds_the_weights_that_made_the_labels() -> None:
    random = np.random.default_rng(0)
    evidence = random.normal(size=(20_000, 2))
    right = random.random(20_000) < 1 / (1 + np.exp(-(2 * evidence[:, 0] - evidence[:, 1] + 0.5)))
    found = fit_logistic(evidence, right.astype(float), np.ones(20_000))
    np.testing.assert_allclose(found, [2, -1, 0.5], atol=0.1)
    # What counts nothing changes nothing.
    doubled = np.concatenate([evidence, evidence]), np.concatenate([right, ~right]).astype(float)
    weight = np.repeat([1.0, 0.0], 20_000)
    np.testing.assert_allclose(fit_logistic(*doubled, weight), found, atol=1e-6)


def test_the_ablations_report_every_seed_and_refuse_unknown_names(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--data", str(footage / "boxes"), "--every-task", "--seeds", "2", "--json", str(tmp_path / "f.json")]
    assert fsnet_ablations.main([*run, "--variants", "as it is,RoIPool"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| as it is |") == printed.count("| RoIPool |") == 2
    assert (tmp_path / "f.json").is_file()
    assert fsnet_ablations.main([*run, "--variants", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_the_times_of_the_stages_add_up(footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fsnet_stages.main(["--data", str(footage / "boxes"), "--tasks", "One"]) == 0
    rows = [line.strip("| ").replace("*", "").split(" | ") for line in capsys.readouterr().out.splitlines()[2:-1]]
    *stages, whole = ([float(value) for value in row[1:]] for row in rows)
    assert {"RoIAlign", "steps of SGD", "backbone", "mutual information"} <= {row[0] for row in rows}
    np.testing.assert_allclose(np.sum(stages, axis=0), whole, rtol=0.05, atol=3)
    assert fsnet_stages.main(["--data", str(footage / "boxes"), "--tasks", "nonsense"]) == 2


def test_devices_are_compared_and_one_that_is_not_there_is_an_error(
    footage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--data", str(footage / "boxes"), "--tasks", "One", "--frames", "4"]
    assert fsnet_devices.main([*run, "--devices", "cpu"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
    assert row[:2] == ["One", "cpu"]
    assert row[-2:] == ["4 of 4", "0.0e+00"]
    assert float(row[2]) > float(row[5]) >= float(row[3]) > 0  # frame 1 takes longer than any update
    if devices.why_no_cuda():
        assert fsnet_devices.main(run) == 2
        assert "no device cuda" in capsys.readouterr().err


def test_boxes_are_alike_until_they_part() -> None:
    boxes = np.zeros((4, 4))
    others = boxes + np.array([[0], [5e-4], [2e-3], [0]])
    assert fsnet_devices.alike(boxes, others) == 2
    assert fsnet_devices.alike(boxes, boxes + 5e-4) == 4
