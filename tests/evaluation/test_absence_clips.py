"""Clips with known absences: what they say of the target is what their pixels show."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_tracker.boxes import visible_share
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation import absence_clips as absences
from edge_tracker.evaluation.absence_clips import KINDS, RENDERED, Clip, absence_clips, to_and_fro
from edge_tracker.evaluation.datasets import Task, read_tasks

RED = (0, 0, 255)


def write_sequence(folder: Path, images: list[np.ndarray], boxes: np.ndarray) -> None:
    (folder / "img").mkdir(parents=True)
    for number, image in enumerate(images, start=1):
        cv2.imwrite(str(folder / "img" / f"{number:04d}.png"), image)
    np.savetxt(folder / "groundtruth_rect.txt", boxes + np.array([1, 1, 0, 0]), fmt="%.3f", delimiter=",")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    """A red rectangle that walks over green, and two sequences without any red: it can be counted in pixels."""
    root = tmp_path_factory.mktemp("painted")
    boxes = np.array([(30 + 4 * k, 50 + (k % 5), 16, 24 + k % 3) for k in range(15)], dtype=np.float64)
    images = []
    for x, y, w, h in boxes.astype(int):
        image = np.full((120, 160, 3), (40, 160, 40), np.uint8)
        image[y : y + h, x : x + w] = RED
        images.append(image)
    write_sequence(root / "Red", images, boxes)
    random = np.random.default_rng(0)
    for name, shape in (("Other", (90, 200, 3)), ("Small", (30, 20, 3))):
        scenes = [random.integers(0, 200, shape, dtype=np.uint8) for _ in range(12)]
        write_sequence(root / name, scenes, np.tile([2.0, 2, 10, 10], (12, 1)))
    return read_tasks(root)


def clips_of(tasks: list[Task], name: str, seed: int = 0) -> dict[str, Clip]:
    chosen = [task for task in tasks if task.name == name]
    return {clip.kind: clip for clip in absence_clips(chosen, tasks, seed)}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", RENDERED)
def test_the_truth_is_what_the_pixels_show(painted: list[Task], kind: str, seed: int) -> None:
    clip = clips_of(painted, "Red", seed)[kind]
    for index in range(len(clip)):
        image = clip.image(index)
        assert image.shape == (120, 160, 3)
        red = (image == RED).all(axis=2)
        if clip.visible[index] == 0:
            assert not red.any()
            assert np.isnan(clip.boxes[index]).all()
            continue
        x, y, w, h = clip.boxes[index]
        assert red.sum() == pytest.approx(clip.visible[index] * w * h)
        rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
        assert x <= columns[0]
        assert columns[-1] < x + w
        assert y <= rows[0]
        assert rows[-1] < y + h


@pytest.mark.parametrize("seed", range(4))
def test_each_clip_has_one_absence_with_enough_before_and_after(painted: list[Task], seed: int) -> None:
    for kind, clip in clips_of(painted, "Red", seed).items():
        away = np.flatnonzero(clip.visible == 0)
        if kind == "frozen":
            assert len(away) == 0
            continue
        assert (np.diff(away) == 1).all()
        assert absences.AWAY[0] <= len(away) <= absences.AWAY[1] + 2 * absences.PAN[1]
        assert (clip.visible[: absences.BEFORE[0]] == 1).all()
        assert (clip.visible[-absences.AFTER :] == 1).all()


def test_a_frozen_clip_stands_still_and_goes_on(painted: list[Task]) -> None:
    clip = clips_of(painted, "Red")["frozen"]
    still = [bool((clip.image(k) == clip.image(k - 1)).all()) for k in range(1, len(clip))]
    assert absences.AWAY[0] <= sum(still) <= absences.AWAY[1]
    (changes,) = np.nonzero(np.diff(still))
    assert len(changes) == 2  # moving, still, moving
    np.testing.assert_array_equal(clip.visible, 1)


def test_same_seed_same_clips_another_seed_others(painted: list[Task]) -> None:
    first, again, other = (clips_of(painted, "Red", seed) for seed in (0, 0, 1))
    differ = 0
    for kind, clip in first.items():
        assert len(clip) == len(again[kind])
        frames = np.linspace(0, len(clip) - 1, 9).astype(int)
        assert all((clip.image(k) == again[kind].image(k)).all() for k in frames)
        differ += len(clip) != len(other[kind]) or any((clip.image(k) != other[kind].image(k)).any() for k in frames)
    assert differ >= 4


def test_a_clip_does_not_depend_on_which_others_are_asked_for(painted: list[Task]) -> None:
    alone = clips_of(painted, "Red")["occlusion"]
    among = next(clip for clip in absence_clips(painted, painted) if clip.name == alone.name)
    np.testing.assert_array_equal(alone.image(40), among.image(40))


def test_clips_reach_other_processes(painted: list[Task]) -> None:
    for clip in clips_of(painted, "Red").values():
        again = pickle.loads(pickle.dumps(clip))
        np.testing.assert_array_equal(again.image(45), clip.image(45))


def test_hidden_rows_make_a_natural_clip_and_no_rendered_frame(otb_folder: Path) -> None:
    tasks = read_tasks(otb_folder)
    longer = [Task(t.name, t.frames * 3, np.tile(t.boxes, (3, 1))) for t in tasks]
    clips = {clip.name: clip for clip in absence_clips(longer, longer)}
    assert {clip.kind for clip in clips.values()} == set(KINDS)
    assert [name for name in clips if name.endswith("-natural")] == ["Beta.2-natural"]
    natural = clips["Beta.2-natural"]
    np.testing.assert_array_equal(np.flatnonzero(natural.visible == 0), [5, 17, 29])
    assert len(natural) == 36
    assert set(clips["Beta.2-black"].order) <= set(range(6, 17))  # its longest visible stretch


def test_one_sequence_is_not_enough(painted: list[Task]) -> None:
    with pytest.raises(DatasetError, match="two sequences"):
        absence_clips(painted[:1], painted[:1])


def test_targets_too_small_or_too_short_make_no_clip(painted: list[Task]) -> None:
    red = next(task for task in painted if task.name == "Red")
    tiny = Task("Tiny", red.frames, np.column_stack([red.boxes[:, :2], np.full((15, 2), 7.0)]))
    brief = Task("Brief", red.frames[:9], red.boxes[:9])
    for task in (tiny, brief):
        with pytest.raises(DatasetError, match="no clip"):
            absence_clips([task], painted)


def test_frames_run_to_and_fro() -> None:
    assert to_and_fro(9, np.arange(4, 8)).tolist() == [4, 5, 6, 7, 6, 5, 4, 5, 6]
    assert to_and_fro(3, np.array([2])).tolist() == [2, 2, 2]


def test_visible_share_equals_a_count_of_points() -> None:
    """Against a grid of points over each box, for boxes anywhere around the frame."""
    random = np.random.default_rng(3)
    boxes = np.column_stack([random.uniform(-30, 90, (60, 2)), random.uniform(5, 40, (60, 2))])
    corners = random.integers(-10, 60, (60, 2))
    occluders = np.concatenate([corners, corners + random.integers(5, 50, (60, 2))], axis=1)
    shifts = random.integers(-40, 40, 60)
    share = visible_share(boxes, (80, 60), occluders, shifts)
    steps = (np.arange(400) + 0.5) / 400
    for (x, y, w, h), (left, top, right, bottom), shift, found in zip(boxes, occluders, shifts, share, strict=True):
        xs, ys = x + w * steps[None, :], y + h * steps[:, None]
        shown = (xs >= 0) & (xs < 80) & (xs + shift >= 0) & (xs + shift < 80) & (ys >= 0) & (ys < 60)
        assert found == pytest.approx((shown & ~hidden(xs, ys, left, top, right, bottom)).mean(), abs=0.01)


def hidden(xs: np.ndarray, ys: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return (xs >= left) & (xs < right) & (ys >= top) & (ys < bottom)
