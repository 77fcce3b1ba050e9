"""Jerks of the camera: measured on known shifts, and followed by the tracker."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_tracker.closed_form.camera import Camera
from tests.clips import Pose, act


def picture(seed: int = 0, size: tuple[int, int] = (480, 360)) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (size[1] // 12, size[0] // 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def moved(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT), np.uint8)


@pytest.mark.parametrize("size", [(480, 360), (160, 120), (1280, 720)])
def test_a_jerk_of_a_still_camera_is_measured(size: tuple[int, int]) -> None:
    camera, image = Camera(), picture(size=size)
    dx, dy = 0.06 * size[0], -0.04 * size[1]
    for _ in range(4):
        assert camera.jerk(image) == pytest.approx((0, 0), abs=0.05 * size[0] / 160)
    assert camera.jerk(moved(image, dx, dy)) == pytest.approx((dx, dy), abs=1.5 * size[0] / 160)


def test_a_picture_is_compared_with_the_last_one_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV changes what it compares, where its size needs no border for the transform."""
    compared, compare = [], cv2.phaseCorrelate
    monkeypatch.setattr(
        cv2, "phaseCorrelate", lambda *args: (compared.append([a.copy() for a in args]), compare(*args))[1]
    )
    camera, image = Camera(), picture(size=(160, 120))
    for _ in range(3):
        camera.jerk(image)
    np.testing.assert_array_equal(compared[1][0], compared[0][1])


def test_a_steady_pan_is_no_jerk() -> None:
    """A camera that follows its target: the background moves on, the target stays where it is."""
    camera, image = Camera(), picture()
    said = [np.hypot(*camera.jerk(moved(image, 6.0 * frame, 0))) for frame in range(12)]
    assert max(said) < 1.5
    assert camera.jerk(moved(image, 6.0 * 12 + 40, 0))[0] == pytest.approx(40, abs=3)


def test_what_cannot_be_told_is_none() -> None:
    camera = Camera()
    plain, other = np.full((120, 160, 3), 90, np.uint8), picture(3, (160, 120))
    for image in (plain, plain, other, picture(9, (160, 120)), np.zeros((60, 90, 3), np.uint8)):
        assert np.hypot(*camera.jerk(image)) < 1.0


@pytest.mark.parametrize("seed", [6, 9])  # two that agree in nothing
def test_a_cut_to_another_scene_is_no_jerk(seed: int) -> None:
    camera = Camera()
    scene, other = (act([Pose(160, 120)], k).images[0] for k in (seed, seed + 1))
    for _ in range(3):
        camera.jerk(scene)
    assert camera.jerk(other) == pytest.approx((0, 0), abs=0.1)
