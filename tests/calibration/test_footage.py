"""What counts as footage, and where its boxes come from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.footage import find_footage
from edge_tracker.errors import DatasetError, SourceError
from tests.conftest import Clip


def test_a_folder_of_sequences_gives_every_task(otb_folder: Path) -> None:
    names = [shot.name for shot in find_footage([str(otb_folder)])]
    assert names == ["Alpha", "Beta.1", "Beta.2"]


def test_one_sequence_by_itself(otb_folder: Path) -> None:
    (shot,) = find_footage([str(otb_folder / "Alpha")])
    assert shot.name == "Alpha"
    assert len(list(shot.shots())) == 12


def test_frames_in_which_the_target_is_hidden_are_left_out(otb_folder: Path) -> None:
    hidden = find_footage([str(otb_folder)])[2]
    boxes = [box for _, box in hidden.shots()]
    assert len(boxes) == 11
    assert all(box is not None and np.isfinite(box).all() for box in boxes)


def test_a_video_has_no_boxes_unless_they_lie_beside_it(video: Path, clip: Clip, tmp_path: Path) -> None:
    (shot,) = find_footage([str(video)])
    assert all(box is None for _, box in shot.shots())
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(video.read_bytes())
    np.savetxt(tmp_path / "clip.mp4.txt", clip.boxes[:30] + np.array([1, 1, 0, 0]), delimiter=",")
    (shot,) = find_footage([str(copy)])
    found = np.array([box for _, box in shot.shots()])
    np.testing.assert_allclose(found, clip.boxes[:30])


def test_more_frames_than_boxes_is_an_error(video: Path, clip: Clip, tmp_path: Path) -> None:
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(video.read_bytes())
    np.savetxt(tmp_path / "clip.mp4.txt", clip.boxes[:7], delimiter=",")
    (shot,) = find_footage([str(copy)])
    with pytest.raises(DatasetError, match="more frames than the 7 boxes"):
        list(shot.shots())


def test_a_folder_of_images_is_footage_without_boxes(clip: Clip, tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), clip.images[number])
    (shot,) = find_footage([str(tmp_path)])
    assert [box for _, box in shot.shots()] == [None] * 3


def test_what_is_no_footage_is_refused_at_once(tmp_path: Path, otb_folder: Path) -> None:
    with pytest.raises(SourceError):
        find_footage([str(otb_folder), str(tmp_path / "none.mp4")])
