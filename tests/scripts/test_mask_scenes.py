"""Scenes of objects with exact silhouettes: the box is that of the whole object, whatever covers or cuts it."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import mask_scenes as scenes
import refinement_scenes

from edge_tracker.boxes import iou
from edge_tracker.errors import DatasetError

SIDE = 192


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Light, camera, noise and conventions of boxes left out: what is pasted is seen as it is."""
    for module in (scenes, refinement_scenes):
        monkeypatch.setattr(module, "_degraded", lambda _, picture: picture)
    monkeypatch.setattr(scenes, "lit", lambda _, image: image)
    monkeypatch.setattr(scenes.Camera, "any", classmethod(lambda cls, _: cls(1.0, False, 0.0)))
    monkeypatch.setattr(scenes, "LOOSE", 0)
    monkeypatch.setattr(scenes, "PARTS", 0)


def masked(folder: Path, name: str, colour: tuple[int, int, int], ids: int = 1) -> None:
    """A photograph with ellipses of one colour on grey, and their mask."""
    photo, mask = np.full((150, 200, 3), 120, np.uint8), np.zeros((150, 200), np.uint8)
    for number in range(ids):
        where = ((60 + 80 * number, 75), (22, 40), 0, 0, 360)
        cv2.ellipse(photo, *where, colour, -1)
        cv2.ellipse(mask, *where, number + 1, -1)
    cv2.imwrite(str(folder / f"{name}.png"), mask)
    cv2.imwrite(str(folder / f"{name}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 98])


@pytest.fixture
def green(tmp_path: Path) -> list[scenes.Object]:
    masked(tmp_path, "green_1", (0, 230, 0))
    return scenes.read_objects(tmp_path)


RED = scenes.CutOut(np.full((80, 44, 3), (0, 0, 230), np.uint8), np.full((80, 44), 255, np.uint8))
GROUND = np.full((160, 240, 3), 120, np.uint8)


def green_box(view: refinement_scenes.View) -> np.ndarray:
    """Of the green thing at the box; beyond the photograph there may be its mirror image."""
    patch = view.patch
    seen = (patch[..., 1] > 170) & (patch[..., 0] < 90) & (patch[..., 2] < 90)
    _, _, stats, _ = cv2.connectedComponentsWithStats(seen.astype(np.uint8))
    return max((part[:4].astype(float) for part in stats[1:]), key=lambda b: float(iou(b, np.array(view.box))))


def test_objects_are_read_one_by_one(tmp_path: Path) -> None:
    masked(tmp_path, "cats_7", (0, 230, 0), ids=2)
    found = scenes.read_objects(tmp_path)
    assert [(o.kind, o.name, o.inside) for o in found] == [("cats", "cats_7.1", True), ("cats", "cats_7.2", True)]
    assert found[0].cut().mask.shape == pytest.approx((81, 45), abs=2)
    cv2.imwrite(str(tmp_path / "cats_7.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(DatasetError, match="no mask of"):
        scenes.read_objects(tmp_path)
    with pytest.raises(DatasetError, match="no masked photograph"):
        scenes.read_objects(tmp_path / "nowhere")


@pytest.mark.parametrize("make", [scenes.pasted_scene, scenes.in_place_scene])
def test_the_box_is_the_silhouettes(make: object, green: list[scenes.Object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "ALONE", 1.0)
    monkeypatch.setattr(scenes, "CUT", 0.0)
    monkeypatch.setattr(scenes, "_occluded", lambda _, picture, *__: picture)
    overlaps = []
    for seed in range(25):
        views = make(np.random.default_rng(seed), green[0], [RED], [GROUND], SIDE)  # type: ignore[operator]
        overlaps += [float(iou(green_box(view), np.array(view.box))) for view in views]
    assert len(overlaps) > 30
    assert min(overlaps) > 0.8
    assert np.median(overlaps) > 0.9


def test_a_neighbour_in_front_does_not_change_the_box(
    green: list[scenes.Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen of the target is less than its box, and the neighbour's box is given too."""
    monkeypatch.setattr(scenes, "ALONE", 0.0)
    monkeypatch.setattr(scenes, "CUT", 0.0)
    monkeypatch.setattr(scenes, "IN_FRONT", 1.0)
    monkeypatch.setattr(scenes, "NEXT_TO", (0.3, 0.5))
    monkeypatch.setattr(scenes, "_occluded", lambda _, picture, *__: picture)
    covered = 0
    for seed in range(30):
        for view in scenes.in_place_scene(np.random.default_rng(seed), green[0], [RED], [GROUND], SIDE):
            assert view.others
            seen, box = green_box(view), np.array(view.box)
            assert iou(seen, box) > 0.1
            inside = np.concatenate([seen[:2] - box[:2], box[:2] + box[2:] - seen[:2] - seen[2:]])
            assert inside.min() > -3
            covered += bool(iou(seen, box) < 0.85)
    assert covered > 8


def test_where_the_frame_ends_the_box_ends(green: list[scenes.Object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "ALONE", 1.0)
    monkeypatch.setattr(scenes, "CUT", 3.0)
    monkeypatch.setattr(scenes, "_occluded", lambda _, picture, *__: picture)
    overlaps = []
    for seed in range(25):
        views = scenes.in_place_scene(np.random.default_rng(seed), green[0], [RED], [GROUND], SIDE)
        overlaps += [float(iou(green_box(view), np.array(view.box))) for view in views]
    assert min(overlaps) > 0.7


def test_a_videos_frames_come_in_their_order(tmp_path: Path) -> None:
    for number in range(6):
        photo, mask = GROUND.copy(), np.zeros(GROUND.shape[:2], np.uint8)
        cv2.ellipse(photo, (60 + 15 * number, 80), (22, 40), 0, 0, 360, (0, 230 - 8 * number, 0), -1)
        cv2.ellipse(mask, (60 + 15 * number, 80), (22, 40), 0, 0, 360, 1, -1)
        cv2.imwrite(str(tmp_path / f"{number:05d}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 98])
        cv2.imwrite(str(tmp_path / f"{number:05d}.png"), mask)
    frames = scenes.read_video(tmp_path)
    assert len(frames) == 6
    made = list(scenes.video_scenes(np.random.default_rng(0), frames, [RED], [GROUND], 3, SIDE))
    assert len(made) == 3
    for views in made:
        greens = [np.median(v.patch[..., 1][(v.patch[..., 1] > 150) & (v.patch[..., 0] < 60)]) for v in views]
        assert (np.diff(greens) < 5).all()
