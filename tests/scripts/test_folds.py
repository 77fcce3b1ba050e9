"""The folds table: scenes stay together, every sequence weighs the same, differences are paired; a whole run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.companion import Owner, read_companion, write_companion
from edge_tracker.errors import UsageError
from edge_tracker.evaluation.datasets import read_tasks
from tests.conftest import ROOT, Clip
from tests.jobs.conftest import Cluster, cluster

__all__ = ["cluster"]  # a fixture of another room

sys.path.insert(0, str(ROOT / "scripts"))

import folds as script
import hard_clips


def row(
    sequence: str, precision: float, tracked: int = 10, wrong: int = 0, kind: str = "ope", **more: Any
) -> dict[str, Any]:
    found = {
        "said": [tracked, 0, 0],
        "wrong": [wrong, 0, 0],
        "right": [tracked - wrong, 0, 0],
        "drift": [],
        "found": [],
    }
    own = {"sequence": sequence, "kind": kind, "seed": 0, "precision": precision, "success": precision / 2, "ms": 2.0}
    return {**own, **found, "ideal": [1.0, 1.0], **more}


def test_what_belongs_together_lies_in_one_fold_and_scene() -> None:
    assert script.fold_of("DAVIS_dog") == script.fold_of("TUD_Campus_p2") != script.fold_of("UAV_boat1")
    assert script.scene_of("UAV_person12_1") == script.scene_of("UAV_person11") != script.scene_of("UAV_boat1")
    assert script.scene_of("CDnet_highway_481") == script.scene_of("CDnet_highway_990")
    assert {script.fold_of(f"yard_{number}") for number in range(30)} == set(
        "ABC"
    )  # footage of one's own is parted too


def test_every_sequence_counts_the_same_however_many_runs_it_has() -> None:
    rows = [row("UAV_boat1", 1.0)] * 9 + [row("TLD_input100", 0.0, wrong=5)]
    found = script.figures(rows, script.weights_of(rows))
    assert found[:3] == pytest.approx([50, 25, 25])
    lost = row("UAV_boat1", 1.0, said=[6, 0, 4], right=[6, 0, 4], found=[True, True, False], drift=[4, 8])
    found = script.figures([lost], np.ones(1))
    assert found[3:6] == pytest.approx([40, 200 / 3, 6])


def test_the_table_tells_a_difference_that_holds_in_every_scene(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["UAV_boat1", "TLD_input100", "DAVIS_dog", "CDnet_highway_481", "vot15_bag", "SegTrack_girl"]
    for label, gain in (("before", 0.0), ("after", 0.1)):
        rows = [row(name, 0.3 + 0.1 * i + gain) for i, name in enumerate(names)]
        (tmp_path / label).write_text(json.dumps({"label": label, "rows": rows}))
    sys_argv, sys.argv = (
        sys.argv,
        ["folds", "table", str(tmp_path / "before"), str(tmp_path / "after"), "--resampled", "200"],
    )
    try:
        assert script.main() == 0
    finally:
        sys.argv = sys_argv
    text = capsys.readouterr().out
    difference = next(line for line in text.splitlines() if line.startswith("  difference"))
    assert difference.split()[1:4] == ["+10.0", "[+10.0,", "+10.0]"]
    before = next(line for line in text.splitlines() if line.startswith("before"))
    low, high = (float(v.strip("[],")) for v in before.split()[2:4])
    assert low < 55 < high
    assert high - low > 10


@pytest.fixture(scope="module")
def footage(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 45 frames as a sequence of two folds."""
    root = tmp_path_factory.mktemp("footage")
    for name in ("UAV_boat1", "DAVIS_dog"):
        (root / name / "img").mkdir(parents=True)
        for number, image in enumerate(clip.images[:45], start=1):
            cv2.imwrite(str(root / name / "img" / f"{number:04d}.png"), image)
        truth = clip.boxes[:45] + np.array([1, 1, 0, 0])
        np.savetxt(root / name / "groundtruth_rect.txt", truth, fmt="%.3f", delimiter=",")
    return root


def test_folds_are_listed_as_training_takes_them(footage: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "folds.py"), "list", "--data", str(footage)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["A DAVIS_dog", "B ", "C UAV_boat1"]


def test_hard_clips_are_what_they_say(footage: Path) -> None:
    tasks = read_tasks(footage)
    clips = {clip.kind: clip for clip in hard_clips.hard_clips(tasks[:1])}
    assert set(clips) == {"long", "shake", "roll", "poor", "twin"}
    shake = clips["shake"]
    source = tasks[0]
    for index in (5, 10):
        image, (dx, dy) = shake.image(index), shake.edit.shifts[index]  # type: ignore[union-attr]
        plain = source.image(int(shake.order[index]))
        x, y = max(0, dx), max(0, dy)
        np.testing.assert_array_equal(
            image[y + 2 : y + 30, x + 2 : x + 30], plain[y - dy + 2 : y - dy + 30, x - dx + 2 : x - dx + 30]
        )
        np.testing.assert_allclose(shake.boxes[index, :2], source.boxes[shake.order[index], :2] + (dx, dy))
    roll = clips["roll"]
    half = hard_clips.ROLL_TIME // 2  # frames until it stands on its head
    assert roll.edit.angles[half] == pytest.approx(np.pi, abs=0.01)  # type: ignore[union-attr]
    np.testing.assert_allclose(roll.boxes[half], source.boxes[roll.order[half]], atol=0.5)
    x, y, w, h = (int(v) for v in roll.boxes[half])
    upright = source.image(int(roll.order[half]))[y : y + h, x : x + w].astype(int)
    onhead = roll.image(half)[y : y + h, x : x + w].astype(int)
    assert np.abs(onhead[::-1, ::-1] - upright)[3:-3, 3:-3].mean() < 0.5 * np.abs(onhead - upright)[3:-3, 3:-3].mean()
    poor = clips["poor"]
    images = [poor.image(index) for index in (3, 12)]
    assert all((image[..., 0] == image[..., 2]).all() for image in images)  # grey
    assert images[1].mean() > 1.1 * images[0].mean() or images[0].mean() > 1.1 * images[1].mean()  # the light changes
    np.testing.assert_array_equal(poor.image(3), images[0])  # the same each time
    twin = clips["twin"]
    index = next(i for i in range(13, len(twin)) if 0.5 < abs(twin.edit.ways[i]) < 2)  # type: ignore[union-attr]
    changed = (twin.image(index) != source.image(int(twin.order[index]))).any(axis=2)
    assert changed.any()
    x, y, w, h = twin.boxes[index]
    core = changed[int(y + 0.4 * h) : int(y + 0.6 * h), int(x + 0.4 * w) : int(x + 0.6 * w)]
    assert core.mean() < 0.2  # the target itself stays in front
    assert len(clips["long"]) > len(source) or len(source) >= hard_clips.LONGEST


def test_a_run_ends_in_a_file_that_the_table_reads(footage: Path, tmp_path: Path) -> None:
    head = PACKAGED / "edge-small.head.safetensors"
    command = [sys.executable, str(ROOT / "scripts" / "folds.py"), "run", "--data", str(footage), "--seeds", "1"]
    command += ["--kinds", "ope,tre", "--tracker", "fast"]
    found = tmp_path / "found.json"
    done = subprocess.run(
        [*command, "--head", f"*={head}", "--out", str(found)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(found.read_text())["rows"]
    assert {(r["sequence"], r["kind"]) for r in rows} == {
        (name, kind) for name in ("UAV_boat1", "DAVIS_dog") for kind in ("ope", "tre")
    }
    assert all(r["precision"] > 0.8 and sum(r["said"]) >= script.SHORTEST - 1 for r in rows)
    assert all(max(r["ideal"]) > r["success"] for r in rows)
    wrong = [*command, "--head", f"*={footage}", "--out", str(tmp_path / "x.json")]
    failed = subprocess.run(wrong, capture_output=True, text=True, timeout=300)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (2, 1)


def test_sequences_and_clips_have_seeds_of_their_own(footage: Path) -> None:
    runs = list(script.runs_of(read_tasks(footage), 2, 3, ["ope", "long"]))
    assert sorted((r.kind, r.seed) for r in runs if r.sequence == "UAV_boat1") == [
        *(("long", seed) for seed in range(3)),
        *(("ope", seed) for seed in range(2)),
    ]


def test_the_seeds_share_the_perturbed_first_boxes(footage: Path) -> None:
    runs = [r for r in script.runs_of(read_tasks(footage), 3, 1, ["sre"]) if r.sequence == "UAV_boat1"]
    names = {seed: {r.footage.name for r in runs if r.seed == seed} for seed in range(3)}
    assert [len(names[seed]) for seed in range(3)] == [4, 4, 4]
    assert len(set().union(*names.values())) == 12
    assert all(not np.array_equal(r.footage.init_box, r.footage.boxes[0]) for r in runs)


def test_fsnet_runs_without_a_head_and_every_second_run_is_left_out(footage: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "folds.py"), "run", "--data", str(footage), "--seeds", "2"]
    command += ["--tracker", "fsnet", "--kinds", "ope", "--every", "2", "--out", str(tmp_path / "found.json")]
    subprocess.run(command, check=True, timeout=300)
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert sorted((r["sequence"], r["seed"]) for r in rows) == [("DAVIS_dog", 0), ("UAV_boat1", 0)]
    assert all(r["precision"] > 0.8 for r in rows)


def test_a_fold_has_a_trunk_of_its_own(footage: Path, tmp_path: Path) -> None:
    """FSNet on another trunk gives other boxes, in that fold alone."""
    command = [sys.executable, str(ROOT / "scripts" / "folds.py"), "run", "--data", str(footage), "--seeds", "1"]
    command += ["--tracker", "fsnet", "--kinds", "ope", "--out", str(tmp_path / "found.json")]
    found = []
    for options in ([], ["--head", f"C={PACKAGED / 'edge-small.int8-mixed.onnx'}"]):
        subprocess.run([*command, *options], check=True, timeout=300)
        rows = json.loads((tmp_path / "found.json").read_text())["rows"]
        found.append({script.fold_of(r["sequence"]): (r["success"], r["by_confidence"]) for r in rows})
    assert set(found[0]) == {"B", "C"} or set(found[0]) == {"A", "C"}
    assert [found[0][fold] == found[1][fold] for fold in sorted(found[0])] == [True, False]


@pytest.mark.parametrize("text", ["D=x.onnx", "A", "=x.onnx", ""])
def test_files_of_folds_that_do_not_exist_are_refused(text: str) -> None:
    assert script.by_fold(["A=a.onnx", "C=c=d.onnx"]) == {"A": Path("a.onnx"), "C": Path("c=d.onnx")}
    with pytest.raises(UsageError, match="FOLD=FILE"):
        script.by_fold(["B=b.onnx", text])


def test_a_cluster_gives_the_same_rows(footage: Path, tmp_path: Path, cluster: Cluster) -> None:
    """Each fold is tracked with its own head or model, wherever that is."""
    whole, own = PACKAGED / "edge-small.head.safetensors", tmp_path / "edge-small.int8-mixed.onnx"
    other = tmp_path / whole.name
    shutil.copy(PACKAGED / own.name, own)
    owner, tensors = read_companion(whole, "head", Owner)
    other_weights = tensors["presence.weights"] - np.array([0, 0, 0, 0, 0, 1.0])
    write_companion(other, "head", owner, tensors | {"presence.weights": other_weights})
    command = [sys.executable, str(ROOT / "scripts" / "folds.py"), "run", "--data", str(footage), "--seeds", "1"]
    command += ["--kinds", "ope,twin", "--tracker", "fast", "--head", f"A={whole}", "--head", f"C={own}"]
    rows = []
    for place in ([], ["--cluster", cluster.address]):
        out = tmp_path / "found.json"
        subprocess.run([*command, *place, "--out", str(out)], check=True, timeout=300)
        rows.append({(r["sequence"], r["kind"]): r | {"ms": 0} for r in json.loads(out.read_text())["rows"]})
    assert rows[0] == rows[1]
    dog, boat = (rows[0][name, "ope"] for name in ("DAVIS_dog", "UAV_boat1"))
    assert dog["by_confidence"] != boat["by_confidence"]  # the same pictures, other heads
    out = tmp_path / "found.json"
    subprocess.run([*command[:-1], f"C={other}", "--out", str(out)], check=True, timeout=300)
    packaged = {(r["sequence"], r["kind"]): r for r in json.loads(out.read_text())["rows"]}
    assert packaged["UAV_boat1", "ope"]["by_confidence"] != boat["by_confidence"]  # the same head, another model
    assert packaged["UAV_boat1", "ope"]["ideal"] != boat["ideal"]
    assert packaged["DAVIS_dog", "ope"]["success"] == dog["success"]


def test_a_fold_by_itself_is_tracked_on_the_same_clips(footage: Path, tmp_path: Path) -> None:
    """What covers the target is cut from all sequences, whichever are tracked."""
    command = [
        sys.executable,
        str(ROOT / "scripts" / "folds.py"),
        "run",
        "--data",
        str(footage),
        "--kinds",
        "occlusion",
    ]
    command += ["--head", f"*={PACKAGED / 'edge-small.head.safetensors'}", "--tracker", "fast"]
    rows = []
    for folds in ("ABC", "C"):
        out = tmp_path / "found.json"
        subprocess.run([*command, "--fold", folds, "--out", str(out)], check=True, timeout=300)
        rows.append([r | {"ms": 0} for r in json.loads(out.read_text())["rows"] if r["sequence"] == "UAV_boat1"])
    assert len(rows[0]) == 1
    assert rows[0] == rows[1]
