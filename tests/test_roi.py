from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_tracker.roi import Window, affine, crop, is_plain, window_around


def picture(width: int = 60, height: int = 50) -> np.ndarray:
    """A ramp: blue grows with x, green with y."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width) * 2
    image[..., 1] = (np.arange(height) * 3)[:, None]
    image[..., 2] = 90
    return image


def test_a_window_of_the_crop_size_is_copied() -> None:
    image = picture()
    np.testing.assert_array_equal(crop(image, Window(7, 5, 32), 32), image[5:37, 7:39])


def test_scaling_keeps_what_lies_where() -> None:
    """At crop pixel i of a window scaled k times, the ramp must show image position (i + 1/2) / k - 1/2."""
    image = picture()
    found = crop(image, Window(10, 10, 20), 80)[40, 8:-8, 0].astype(float)
    expected = 2 * (10 + (np.arange(80) + 0.5) / 4 - 0.5)[8:-8]
    np.testing.assert_allclose(found, expected, atol=1.0)


def test_beyond_the_image_is_its_mean_colour() -> None:
    image = picture()
    found = crop(image, Window(-20, 10, 40), 40)
    visible = image[10:50, 0:20].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(found[20, 5], visible, atol=1)
    np.testing.assert_array_equal(found[:, 20:], image[10:50, 0:20])


def test_a_window_wholly_outside_is_plain() -> None:
    assert np.ptp(crop(picture(), Window(500, 500, 40), 32).reshape(-1, 3), axis=0).max() == 0


def test_a_window_far_larger_than_the_image_takes_little_memory() -> None:
    assert crop(picture(), Window(-50_000, -50_000, 100_000), 224).shape == (224, 224, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (6000, 8000)])
def test_odd_frames_give_a_crop(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 50, np.uint8)
    window = window_around((0, 0, shape[1], shape[0]), 3.0)
    assert (crop(image, window, 224) == 50).all()


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 200
    assert crop(stripes, Window(0, 0, 400), 100).std() < 2


def test_grid_coordinates() -> None:
    window = Window(100, 50, 140)
    boxes = np.array([[100.0, 50.0, 140.0, 140.0], [110.0, 60.0, 10.0, 20.0]])
    np.testing.assert_allclose(window.to_grid(boxes, 14), [[0, 0, 14, 14], [1, 1, 1, 2]])


def test_plain_is_one_colour_with_noise_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    plain = np.full((224, 224, 3), (200, 20, 90), np.uint8)
    noisy = (plain + random.normal(0, 0.8, plain.shape).round()).astype(np.uint8)
    assert is_plain(plain)
    assert is_plain(noisy)
    noisy[100:112, 100:112] = 255  # a small bright thing in the sky
    assert not is_plain(noisy)


def test_an_affine_matrix_turns_zooms_and_stretches_about_a_point() -> None:
    matrix = affine(np.pi / 2, 2.0, np.log(4.0), (50, 60), (10, 20))
    np.testing.assert_allclose(matrix @ (10, 20, 1), (50, 60), atol=1e-4)
    # A step to the right becomes one down, twice as long and, the height being half, as long as before.
    np.testing.assert_allclose(matrix @ (11, 20, 1), (50, 61), atol=1e-4)
    np.testing.assert_allclose(matrix @ (10, 21, 1), (46, 60), atol=1e-4)
    mirrored = affine(0.0, 1.0, 0.0, (50, 60), (10, 20), mirrored=True)
    np.testing.assert_allclose(mirrored @ (13, 24, 1), (47, 64), atol=1e-4)


def test_a_large_window_is_cropped_like_the_mean_of_its_pixels() -> None:
    random = np.random.default_rng(0)
    image = cv2.resize(random.integers(0, 256, (54, 54, 3), np.uint8), (2160, 2160), interpolation=cv2.INTER_CUBIC)
    patch = crop(image, Window(100, 60, 1920), 192)
    means = image[60:1980, 100:2020].reshape(192, 10, 192, 10, 3).mean(axis=(1, 3))
    assert np.abs(patch - means).mean() < 2
    assert np.abs(patch - means).max() < 60
