"""Data sets as they lie on people's disks: each layout is recognised by what is in the folder and read whole."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.cli import main
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.datasets import read_tasks, read_whole_tasks
from tests.conftest import Clip

COUNT = 12
ONE = np.array([1, 1, 0, 0])


def images(folder: Path, clip: Clip, count: int = COUNT, first: int = 1, digits: int = 4, suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{first + index:0{digits}d}{suffix}"), clip.images[index % 120])


def blank_images(folder: Path, count: int) -> None:
    """Empty files under the names of images: reading a task does not open them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        (folder / f"{number:04d}.jpg").touch()


def truth(path: Path, boxes: NDArray[np.float64], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, boxes, fmt="%.4f", delimiter=delimiter)


@pytest.mark.parametrize(
    ("name", "frames", "boxes", "first"),
    [
        ("David", 770, 471, 300),
        ("Football1", 80, 74, 1),
        ("Freeman3", 500, 460, 1),
        ("Freeman4", 300, 283, 1),
        ("Diving", 231, 215, 1),
        ("diving", 215, 215, 1),
        ("David", 471, 471, 1),
    ],
)
def test_otb_as_downloaded(name: str, frames: int, boxes: int, first: int, tmp_path: Path) -> None:
    blank_images(tmp_path / name / "img", frames)
    truth(tmp_path / name / "groundtruth_rect.txt", np.tile([10.0, 10, 5, 5], (boxes, 1)))
    (task,) = read_tasks(tmp_path)
    assert len(task) == boxes
    assert task.frames[0].name == f"{first:04d}.jpg"
    assert task.frames[-1].name == f"{first + boxes - 1:04d}.jpg"


def test_an_empty_second_truth_file_is_left_out(tmp_path: Path) -> None:
    blank_images(tmp_path / "Human4" / "img", 5)
    (tmp_path / "Human4" / "groundtruth_rect.1.txt").touch()
    truth(tmp_path / "Human4" / "groundtruth_rect.2.txt", np.tile([10.0, 10, 5, 5], (5, 1)))
    assert [task.name for task in read_tasks(tmp_path)] == ["Human4.2"]


def test_hidden_files_of_macos_are_no_frames(clip: Clip, tmp_path: Path) -> None:
    images(tmp_path / "A" / "img", clip)
    truth(tmp_path / "A" / "groundtruth_rect.txt", clip.boxes[:COUNT] + ONE)
    (tmp_path / "A" / "img" / "._0001.jpg").write_bytes(b"\0\5\x16\7")
    (tmp_path / "A" / "._groundtruth_rect.txt").write_bytes(b"\0\5\x16\7")
    assert len(read_tasks(tmp_path)[0]) == COUNT


def bad_and_good(clip: Clip, root: Path) -> None:
    for name in ("Good", "Short", "Torn"):
        images(root / name / "img", clip)
        truth(root / name / "groundtruth_rect.txt", clip.boxes[: 8 if name == "Short" else COUNT] + ONE)
    (root / "Torn" / "img" / "0005.jpg").write_bytes(b"no image")


def test_only_the_sequences_asked_for_are_read(clip: Clip, tmp_path: Path) -> None:
    bad_and_good(clip, tmp_path)
    assert [task.name for task in read_tasks(tmp_path, ["Good"])] == ["Good"]
    with pytest.raises(DatasetError, match="Short has 12 images but 8 boxes"):
        read_tasks(tmp_path)
    tasks, faults = read_whole_tasks(tmp_path)
    assert [task.name for task in tasks] == ["Good", "Torn"]
    assert len(faults) == 1


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_bad_sequence_is_named_and_the_rest_measured(
    jobs: str, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_and_good(clip, tmp_path / "data")
    out = tmp_path / "out"
    arguments = ["eval", "--data", str(tmp_path / "data"), "--out", str(out), "--quiet", "--tracker", "fast"]
    assert main([*arguments, "--jobs", jobs]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Short has 12 images but 8 boxes" in said
    assert "task Torn" in said
    assert "0005.jpg" in said
    assert set(json.loads((out / "summary.json").read_text())["tasks"]) == {"Good"}


def test_a_box_without_area_is_an_absent_target(clip: Clip, tmp_path: Path) -> None:
    boxes = clip.boxes[:COUNT] + ONE
    boxes[4:7] = 0
    boxes[8, 2] = -1
    images(tmp_path / "A" / "img", clip)
    truth(tmp_path / "A" / "groundtruth_rect.txt", boxes)
    (task,) = read_tasks(tmp_path)
    assert np.flatnonzero(task.visible == 0).tolist() == [4, 5, 6, 8]


def lasot(clip: Clip, root: Path) -> dict[str, NDArray[np.float64]]:
    for number in (1, 10):
        folder = root / "cup" / f"cup-{number}"
        images(folder / "img", clip, digits=8)
        truth(folder / "groundtruth.txt", clip.boxes[:COUNT] + ONE)
        flags = ["0"] * COUNT
        (folder / "full_occlusion.txt").write_text(",".join([*flags[:-1], "1"]))
        (folder / "out_of_view.txt").write_text(",".join(flags))
    boxes = clip.boxes[:COUNT].copy()
    boxes[-1] = np.nan
    return {"cup-1": boxes, "cup-10": boxes}


def got10k(clip: Clip, root: Path) -> dict[str, NDArray[np.float64]]:
    folder = root / "val" / "GOT-10k_Val_000001"
    images(folder, clip, digits=8)
    truth(folder / "groundtruth.txt", clip.boxes[:COUNT])
    (folder / "absence.label").write_text("\n".join(["0"] * 5 + ["1"] + ["0"] * 6))
    boxes = clip.boxes[:COUNT].copy()
    boxes[5] = np.nan
    return {"GOT-10k_Val_000001": boxes}


def uav123(clip: Clip, root: Path) -> dict[str, NDArray[np.float64]]:
    images(root / "data_seq" / "UAV123" / "bike1", clip, digits=6)
    images(root / "data_seq" / "UAV123" / "car1", clip, digits=6)
    boxes = clip.boxes[:COUNT].copy()
    boxes[3] = np.nan
    truth(root / "anno" / "UAV123" / "bike1.txt", boxes + ONE)
    truth(root / "anno" / "UAV123" / "car1_1.txt", clip.boxes[:5] + ONE)
    truth(root / "anno" / "UAV123" / "car1_2.txt", clip.boxes[4:COUNT] + ONE)  # begins where the first part ends
    return {"bike1": boxes, "car1_1": clip.boxes[:5], "car1_2": clip.boxes[4:COUNT]}


def vot(clip: Clip, root: Path) -> dict[str, NDArray[np.float64]]:
    images(root / "sequences" / "ball" / "color", clip, digits=8)
    x, y, w, h = clip.boxes[:COUNT].T
    truth(root / "sequences" / "ball" / "groundtruth.txt", np.stack([x, y, x + w, y, x + w, y + h, x, y + h], axis=1))
    return {"ball": clip.boxes[:COUNT]}


def mot(clip: Clip, root: Path) -> dict[str, NDArray[np.float64]]:
    images(root / "train" / "MOT-01" / "img1", clip, digits=6)
    rows = []
    for index in range(COUNT):
        x, y, w, h = clip.boxes[index] + ONE
        rows.append([index + 1, 3, x, y, w, h, 1, 1, 1])
        rows.append([index + 1, 9, x, y, w, h, 0, 7, 1])  # not to be counted
        if 2 <= index < 9 and index != 5:
            rows.append([index + 1, 12, x, y, w, h, 1, 1, 0.5])
    truth(root / "train" / "MOT-01" / "gt" / "gt.txt", np.array(rows))
    late = clip.boxes[2:9].copy()
    late[3] = np.nan
    return {"MOT-01.12": late, "MOT-01.3": clip.boxes[:COUNT]}


def davis(clip: Clip, root: Path) -> dict[str, NDArray[np.float64]]:
    images(root / "JPEGImages" / "480p" / "bear", clip, first=0, digits=5)
    masks = root / "Annotations" / "480p" / "bear"
    masks.mkdir(parents=True)
    boxes = []
    for index in range(COUNT):
        mask = np.zeros(clip.images[0].shape[:2], np.uint8)
        x, y, w, h = (round(v) for v in clip.boxes[index])
        mask[y : y + h, x : x + w] = 255
        cv2.imwrite(str(masks / f"{index:05d}.png"), mask)
        boxes.append([x, y, w, h])
    return {"bear": np.array(boxes, dtype=float)}


@pytest.mark.parametrize("layout", [lasot, got10k, uav123, vot, mot, davis])
def test_a_layout_is_recognised_and_read(layout: object, clip: Clip, tmp_path: Path) -> None:
    expected = layout(clip, tmp_path / "data")  # type: ignore[operator]
    tasks = {task.name: task for task in read_tasks(tmp_path / "data")}
    assert tasks.keys() == expected.keys()
    for name, boxes in expected.items():
        np.testing.assert_allclose(tasks[name].boxes, boxes, atol=1e-3)
        assert len(tasks[name].frames) == len(boxes)
    last = sorted(expected)[-1]
    assert [task.name for task in read_tasks(tmp_path / "data", [last])] == [last]
    at = np.abs(tasks[last].image(0).astype(int) - clip.images[_first_of(last)].astype(int)).mean()
    assert at < 12  # JPEG


def _first_of(name: str) -> int:
    """The clip's frame at which a task of these tests begins."""
    return {"car1_2": 4, "MOT-01.12": 2}.get(name, 0)


def test_the_parts_of_uav123_begin_in_the_right_frame(clip: Clip, tmp_path: Path) -> None:
    uav123(clip, tmp_path)
    tasks = {task.name: task for task in read_tasks(tmp_path)}
    assert tasks["car1_2"].frames[0].name == "000005.jpg"
    assert tasks["car1_1"].frames[-1].name == "000005.jpg"


def test_targets_of_davis_2017_are_told_apart_by_the_palette(clip: Clip, tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    images(tmp_path / "JPEGImages" / "480p" / "two", clip, count=3, first=0, digits=5)
    masks = tmp_path / "Annotations" / "480p" / "two"
    masks.mkdir(parents=True)
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * (7 * 3 - 12)
    for index in range(3):
        mask = np.zeros((240, 320), np.uint8)
        mask[10:30, 20:60] = 1
        if index:
            mask[100:110, 100 + index : 120 + index] = 2
        picture = pil.fromarray(mask, mode="P")
        picture.putpalette(palette)
        picture.save(masks / f"{index:05d}.png")
    tasks = {task.name: task for task in read_tasks(tmp_path)}
    np.testing.assert_array_equal(tasks["two.1"].boxes, [[20, 10, 40, 20]] * 3)
    np.testing.assert_array_equal(tasks["two.2"].boxes, [[101, 100, 20, 10], [102, 100, 20, 10]])
    assert tasks["two.2"].frames[0].name == "00001.jpg"
    assert [t.name for t in read_tasks(tmp_path, ["two.2"])] == ["two.2"]
    assert [t.name for t in read_tasks(tmp_path, ["two"])] == ["two.1", "two.2"]


def test_masks_of_vot_and_hidden_truth_are_refused_by_name(clip: Clip, tmp_path: Path) -> None:
    vot(clip, tmp_path / "a")
    (tmp_path / "a" / "sequences" / "ball" / "groundtruth.txt").write_text("m10,10,5,5,3,4\n" * COUNT)
    with pytest.raises(DatasetError, match="masks"):
        read_tasks(tmp_path / "a")
    got10k(clip, tmp_path / "b")
    truth(tmp_path / "b" / "val" / "GOT-10k_Val_000001" / "groundtruth.txt", clip.boxes[:1])
    with pytest.raises(DatasetError, match="not public"):
        read_tasks(tmp_path / "b")


def test_a_pointer_instead_of_the_truth_is_named(clip: Clip, tmp_path: Path) -> None:
    images(tmp_path / "A" / "img", clip)
    (tmp_path / "A" / "groundtruth_rect.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DatasetError, match="git lfs pull"):
        read_tasks(tmp_path)


def test_the_sequences_here_are_read(shared: Path) -> None:
    tasks = read_tasks(shared / "data" / "otb")
    assert len(tasks) == 16
    assert {len(t) for t in tasks if t.name in ("David", "Diving")} == {471, 215}
