"""Reading OTB's layout in all the forms its ground truth comes in."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.boxes_file import read_boxes, write_boxes
from edge_tracker.evaluation.datasets import read_tasks
from tests.conftest import Clip


def test_tasks_and_their_boxes(otb_folder: Path, clip: Clip) -> None:
    tasks = {task.name: task for task in read_tasks(otb_folder)}
    assert list(tasks) == ["Alpha", "Beta.1", "Beta.2"]
    for name in ("Alpha", "Beta.1"):
        np.testing.assert_allclose(tasks[name].boxes, clip.boxes[:12], atol=1e-3)
    assert np.isnan(tasks["Beta.2"].boxes[5]).all()
    assert len(tasks["Alpha"].frames) == 12


def test_names_choose_tasks(otb_folder: Path) -> None:
    assert [t.name for t in read_tasks(otb_folder, ["Beta.2", "Alpha"])] == ["Alpha", "Beta.2"]
    assert [t.name for t in read_tasks(otb_folder, ["Beta"])] == ["Beta.1", "Beta.2"]
    with pytest.raises(DatasetError, match="no sequence Gamma; it has Alpha, Beta.1, Beta.2"):
        read_tasks(otb_folder, ["Alpha", "Gamma"])


@pytest.mark.parametrize(
    "line", ["2,3,10,20", "2\t3\t10\t20", "2 3 10 20", " 2, 3, 10, 20 ", "2;3;10;20", "2.0,3,1e1,20,"]
)
def test_every_delimiter(line: str, tmp_path: Path) -> None:
    path = tmp_path / "groundtruth_rect.txt"
    path.write_text(f"\ufeff{line}\r\n{line}\r\n\r\n", encoding="utf-8")
    np.testing.assert_allclose(read_boxes(path), [[1, 2, 10, 20]] * 2)


@pytest.mark.parametrize("line", ["NaN,NaN,NaN,NaN", "nan 1 2 3", "1,2,inf,4"])
def test_hidden_rows_are_nan(line: str, tmp_path: Path) -> None:
    path = tmp_path / "g.txt"
    path.write_text(f"1,1,5,5\n{line}\n")
    assert np.isnan(read_boxes(path)[1]).all()


@pytest.mark.parametrize(("text", "says"), [("1,2,3\n", "3 numbers"), ("1,2,3,x\n", "line 1"), ("\n", "no box")])
def test_ground_truth_that_cannot_be_read_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text(text)
    with pytest.raises(DatasetError, match=says):
        read_boxes(tmp_path / "g.txt")


def test_ground_truth_in_another_encoding_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text("1,1,5,5\n", encoding="utf-16")
    with pytest.raises(DatasetError, match="g.txt: it is no text in UTF-8"):
        read_boxes(tmp_path / "g.txt")


def test_boxes_are_written_as_ground_truth_is(tmp_path: Path) -> None:
    boxes = np.array([[0.0, 0.0, 10.0, 20.0], [5.125, 6.25, 7.0, 8.0]])
    write_boxes(tmp_path / "b.txt", boxes)
    assert (tmp_path / "b.txt").read_text().splitlines()[0] == "1.000,1.000,10.000,20.000"
    np.testing.assert_allclose(read_boxes(tmp_path / "b.txt"), boxes)


def damaged(otb_folder: Path, tmp_path: Path, what: str) -> Path:
    root = tmp_path / "data"
    if what == "missing":
        return root
    root.mkdir()
    if what == "empty":
        return root
    shutil.copytree(otb_folder / "Alpha", root / "Alpha")
    if what == "no img":
        shutil.rmtree(root / "Alpha" / "img")
    elif what == "an image less":
        (root / "Alpha" / "img" / "0005.png").unlink()
    elif what == "hidden at first":
        lines = (root / "Alpha" / "groundtruth_rect.txt").read_text().splitlines()
        (root / "Alpha" / "groundtruth_rect.txt").write_text("\n".join(["NaN,NaN,NaN,NaN", *lines[1:]]))
    return root


@pytest.mark.parametrize("what", ["missing", "empty", "no img", "an image less", "hidden at first"])
def test_a_damaged_folder_is_refused(what: str, otb_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        read_tasks(damaged(otb_folder, tmp_path, what))
