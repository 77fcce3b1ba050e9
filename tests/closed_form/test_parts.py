"""The parts of the closed-form tracker, each against an independent way to the same result."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tracker.boxes import Box
from edge_tracker.closed_form.colour import Colours, counts
from edge_tracker.closed_form.head import fit_projection
from edge_tracker.closed_form.likeness import OWN, WEIGHTS, Evidence, Presence
from edge_tracker.closed_form.redetection import looks
from edge_tracker.closed_form.response_map import PITCH_PX, find_peak, motion_prior, other_peaks, resampling
from edge_tracker.closed_form.ridge import RidgeFilter, laid, neighbourhoods
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid, peak_of_parabola
from edge_tracker.roi import Window, sample, sample_box
from tests.closed_form.conftest import in_parts

Noise = Callable[..., np.ndarray]


@pytest.fixture
def random() -> np.random.Generator:
    """A test's own, so that what it sees does not depend on the tests before it."""
    return np.random.default_rng(0)


@pytest.fixture
def noise(random: np.random.Generator) -> Noise:
    """Makes normal noise of a shape, float32."""
    return lambda *shape: random.normal(size=shape).astype(np.float32)


def test_neighbourhoods_are_the_cells_around_each_cell(noise: Noise) -> None:
    features = noise(5, 5, 3)
    rows = neighbourhoods(features).reshape(5, 5, -1)
    assert rows.shape == (5, 5, 28)
    for y in range(5):
        for x in range(5):
            expected = np.zeros((3, 3, 3), np.float32)
            for i in range(3):
                for j in range(3):
                    if 0 <= y + i - 1 < 5 and 0 <= x + j - 1 < 5:
                        expected[i, j] = features[y + i - 1, x + j - 1]
            np.testing.assert_array_equal(rows[y, x], [*expected.ravel(), 1])


def test_ridge_is_the_exact_solution_in_frame_1_and_closes_in_on_it_later(noise: Noise) -> None:
    frames = [(noise(60, 12), noise(60)) for _ in range(3)]
    ridge, anchor, rate = 0.05, 0.3, 0.2
    filter_ = RidgeFilter(ridge, anchor, steps=30)
    filter_.start([(frames[0][0], frames[0][1], 2.0), (frames[1][0], frames[1][1], 1.0)])
    a1 = (2 * frames[0][0].T @ frames[0][0] + frames[1][0].T @ frames[1][0]) / 3
    b1 = (2 * frames[0][0].T @ frames[0][1] + frames[1][0].T @ frames[1][1]) / 3

    def solved(a: np.ndarray, b: np.ndarray, trace: float) -> np.ndarray:
        return np.linalg.solve(a + ridge * trace / 12 * np.eye(12), b)

    np.testing.assert_allclose(filter_.weights, solved(a1, b1, np.trace(a1)), rtol=1e-3, atol=1e-4)
    rows, target = frames[2]
    filter_.learn(rows, target, rate)
    filter_.solve()
    a, b = (1 - rate) * a1 + rate * rows.T @ rows, (1 - rate) * b1 + rate * rows.T @ target
    expected = solved((1 - anchor) * a + anchor * a1, (1 - anchor) * b + anchor * b1, np.trace(a))
    np.testing.assert_allclose(filter_.weights, expected, rtol=1e-3, atol=1e-4)


def test_ridge_responds_to_neighbourhoods_without_laying_them_out(noise: Noise) -> None:
    features = noise(6, 6, 4)
    filter_ = RidgeFilter(0.05, 0.3, steps=4)
    filter_.start([(neighbourhoods(features), noise(36), 1.0)])
    expected = (neighbourhoods(features) @ filter_.weights).reshape(6, 6)
    found = filter_.respond(features, laid(np.eye(6, dtype=np.float32)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    up = resampling(Grid(6, 16, -1.0), 24)
    np.testing.assert_allclose(filter_.respond(features, laid(up)), up @ expected @ up.T, rtol=1e-4, atol=1e-5)


def test_peak_of_parabola() -> None:
    values = -((np.arange(9) - 4.3) ** 2)
    assert peak_of_parabola(values, 4) == pytest.approx(4.3)
    assert peak_of_parabola(values, 0) == 0
    assert peak_of_parabola(np.ones(5), 2) == 2


def test_the_peak_of_a_smooth_response_is_found_between_the_points() -> None:
    points = np.arange(56) * PITCH_PX
    response = np.outer(np.exp(-(((points - 90.7) / 20) ** 2)), np.exp(-(((points - 121.2) / 20) ** 2)))
    peak = find_peak(response.astype(np.float32), np.ones((56, 56), np.float32))
    assert (peak.x_px, peak.y_px) == pytest.approx((121.2, 90.7), abs=0.1)
    assert peak.height == pytest.approx(response.max())
    assert peak.box((20.0, 10.0)) == pytest.approx((111.2, 85.7, 20, 10), abs=0.1)
    # Of two equal peaks the prior takes the one near its middle.
    two = response + response[::-1]
    assert find_peak(two.astype(np.float32), motion_prior(56, 90.0, 90.0, 30.0)).y_px == pytest.approx(90.7, abs=1.5)


def test_other_peaks_are_high_enough_and_apart(noise: Noise) -> None:
    """Against a search of every point."""
    places = {(20, 10): 1.0, (40, 12): 0.6, (10, 40): 0.4, (44, 44): 0.1, (22, 12): 0.9}  # column, row
    response = np.zeros((56, 56), np.float32)
    for (column, row), height in places.items():
        response[row, column] = height
    box = (20 * PITCH_PX - 15.0, 10 * PITCH_PX - 20.0, 30.0, 40.0)  # on the highest; the last lies beside it, too near
    found = other_peaks(response, 0.2, box, 0.9, 4)
    assert [(peak.x_px / PITCH_PX, peak.y_px / PITCH_PX) for peak in found] == [(40, 12), (10, 40)]
    assert [peak.height for peak in found] == pytest.approx([0.6, 0.4])
    assert len(other_peaks(response, 0.05, box, 0.9, 2)) == 2
    for seed in range(5):
        bumpy = cv2.GaussianBlur(noise(56, 56) + seed, (0, 0), 3)
        for peak in other_peaks(bumpy, float(bumpy.mean()), (100.0, 100.0, 24.0, 24.0), 0.9, 50):
            column, row = round(peak.x_px / PITCH_PX), round(peak.y_px / PITCH_PX)
            around = bumpy[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            assert bumpy[row, column] == around.max() >= bumpy.mean()
            assert np.hypot((peak.x_px - 112) / 24, (peak.y_px - 112) / 24) > 0.9


def test_resampling_keeps_a_place_where_it_is() -> None:
    grid = Grid(14, 16, 15.0)
    bump = np.exp(-0.5 * ((np.arange(14) - 6.4) / 1.2) ** 2).astype(np.float32)
    fine = resampling(grid, 56) @ bump
    assert peak_of_parabola(fine, int(fine.argmax())) * PITCH_PX == pytest.approx(16 * 6.4 + 15, abs=1.0)
    assert grid.box((16 * 2 + 15, 16 * 3 + 15, 32, 16)) == (2, 3, 2, 1)


def test_samples_of_a_linear_map_are_where_they_should_be() -> None:
    y, x = np.mgrid[:14, :14].astype(np.float32)
    found = sample(np.stack([x, y], axis=2), np.array([[3.0, 4.0, 6.0, 3.0]]), 3, 1.0).reshape(3, 3, 2)
    np.testing.assert_allclose(found[1, :, 0], [4, 6, 8], atol=1e-5)
    np.testing.assert_allclose(found[:, 1, 1], [4.5, 5.5, 6.5], atol=1e-5)


@pytest.mark.parametrize("box", [(3.0, 4.0, 6.0, 3.0), (-2.7, 8.1, 9.3, 7.9), (5.2, 5.4, 0.6, 1.1)])
def test_the_samples_of_one_box_are_those_of_many(box: Box, noise: Noise) -> None:
    features = noise(14, 14, 48)
    expected = sample(features, np.array([box]), 12, 2.0).reshape(12, 12, 48)
    np.testing.assert_allclose(sample_box(features, box, 12, 2.0), expected, atol=0.15)  # places are to 1/32 of a cell


def plain(colour: tuple[int, int, int], side: int = 60) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def with_square(ground: np.ndarray, colour: tuple[int, int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    x, y, w, h = box
    image = ground.copy()
    image[y : y + h, x : x + w] = colour
    return image


GRID = Grid(12, 4, 1.5)  # over a patch of 48 px


def view_of(features: np.ndarray, patch: np.ndarray | None = None) -> View:
    return View(
        Window(0, 0, 48), plain((10, 20, 30), 48) if patch is None else patch, features, np.zeros((0, 0, 0), np.float32)
    )


def test_presence_knows_frame_1_and_the_views_it_was_shown(noise: Noise) -> None:
    box = (12.0, 12.0, 24.0, 24.0)
    first, turned = (view_of(noise(12, 12, 8)) for _ in range(2))
    presence = Presence(first, box, in_parts(GRID), np.zeros((2, WEIGHTS)))

    def likeness(view: View) -> float:
        return presence.evidence(view, box, 0.3, 0.7).likeness

    assert likeness(first) == pytest.approx(1, abs=1e-5)
    assert likeness(turned) < 0.6
    presence.remember(turned, box)
    assert likeness(turned) == pytest.approx(1, abs=1e-5)
    for _ in range(2 * OWN):
        presence.remember(view_of(noise(12, 12, 8)), box)
    assert likeness(first) == pytest.approx(1, abs=1e-5)  # never forgotten
    assert likeness(turned) < 0.6  # but all others are, the oldest first
    evidence = presence.evidence(first, box, 0.3, 0.7)
    assert evidence[:2] == pytest.approx((0.3, 1), abs=1e-5)
    assert evidence.match == 0.7


@pytest.mark.parametrize(
    ("evidence", "score"),
    [
        (Evidence(0.0, 0.0, 0.0, 0.0, 0.0), -5.0),
        (Evidence(0.5, 0.5, -1.0, 0.5, 0.5), 0.5),
        (Evidence(1.0, 1.0, 1.0, 1.0, 1.0), 9.0),
        (Evidence(-1e9, 0.0, 0.0, 0.0, 0.0), -30.0),
        (Evidence(1e9, 0.0, 0.0, 0.0, 0.0), 30.0),
    ],
)
def test_probability_is_logistic_regression_and_never_overflows(evidence: Evidence, score: float, noise: Noise) -> None:
    weights = np.tile([2.0, 6.0, 1.0, 2.0, 3.0, -5.0], (2, 1))
    view = view_of(noise(12, 12, 8))
    presence = Presence(view, (12.0, 12.0, 24.0, 24.0), in_parts(GRID), weights)
    assert presence.probability(evidence) == pytest.approx(1 / (1 + np.exp(-score)), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_a_colour_has_the_bin_of_its_eighths(blue: int, green: int, red: int) -> None:
    image = np.full((2, 3, 3), (blue, green, red), np.uint8)
    expected = np.ravel_multi_index((blue * 8 // 256, green * 8 // 256, red * 8 // 256), (8, 8, 8))
    found = counts(image)
    assert found[expected] == found.sum() == 6


def test_colours_tell_a_grey_look_alike_from_the_target() -> None:
    box, ground = (20, 20, 20, 20), plain((110, 120, 115))
    target = with_square(ground, (40, 60, 200), box)
    colours = Colours(target, box)
    assert colours.likeness(target, box) == pytest.approx(1 / 1.2)  # nothing in common with the surroundings
    assert colours.likeness(with_square(ground, (90, 70, 80), box), box) == pytest.approx(0)
    half = with_square(target, (110, 120, 115), (20, 20, 20, 10))
    assert colours.likeness(half, box) == pytest.approx(np.sqrt(0.5) / 1.2, abs=0.02)  # Bhattacharyya: sqrt(1 x 1/2)


def test_colours_that_the_surroundings_have_too_say_little(random: np.random.Generator) -> None:
    box = (20, 20, 20, 20)
    grey = np.repeat(random.integers(0, 256, (60, 60, 1), dtype=np.uint8), 3, axis=2)  # target and ground alike
    colours = Colours(grey, box)
    assert abs(colours.likeness(grey, box)) < 0.3
    assert abs(colours.likeness(np.roll(grey, 25, axis=0), box)) < 0.3


def test_colours_follow_a_slow_change_of_light() -> None:
    box, ground = (20, 20, 20, 20), plain((110, 120, 115))
    colours = Colours(with_square(ground, (40, 60, 200), box), box)
    darker = with_square(ground, (20, 30, 120), box)
    before = colours.likeness(darker, box)
    for _ in range(60):
        colours.learn(darker, box, 0.05)
    assert before == pytest.approx(0)
    assert colours.likeness(darker, box) == pytest.approx(np.sqrt(0.5) / 1.2, abs=0.05)  # half stays frame 1's
    assert colours.histogram.sum() == pytest.approx(1)


@pytest.mark.parametrize("box", [(-30, -30, 20, 20), (70, 10, 5, 5), (0, 0, 60, 60), (59.7, 59.7, 0.2, 0.2)])
def test_colours_of_a_box_at_the_edge_or_beyond_are_still_numbers(
    box: tuple[float, ...], random: np.random.Generator
) -> None:
    patch = random.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    colours = Colours(patch, box)  # type: ignore[arg-type]
    assert np.isfinite(colours.likeness(patch, (10, 10, 30, 30)))
    assert np.isfinite(Colours(patch, (10, 10, 30, 30)).likeness(patch, box))  # type: ignore[arg-type]


def test_the_search_covers_the_frame_from_near_to_far() -> None:
    home, size = (90.0, 40.0, 20.0, 20.0), (320, 240)
    search = looks(home, 80.0, size)
    places = [next(search) for _ in range(200)]
    centres = np.array(places)[:, :2] + 10
    assert (centres >= 0).all()
    assert (centres <= size).all()
    reach = np.abs(centres - [100, 50]).max(axis=1)
    assert reach[0] <= 40  # the nearest first
    assert reach[:8].max() <= reach[8:60].max()
    y, x = np.mgrid[:240:5, :320:5]
    every = np.stack([x.ravel(), y.ravel()], axis=1)
    nearest = np.abs(every[:, None] - np.vstack([centres, [100, 50]])[None]).max(axis=2).min(axis=1)
    assert nearest.max() <= 40  # half a window: every pixel is in the middle half of some look
    assert places[0] in places[1:]  # and then again


def test_projection_is_pca_with_half_the_whitening(random: np.random.Generator) -> None:
    data = random.normal(size=(5000, 6)) @ random.normal(size=(6, 6)) + 3
    data[:, 2] = 7.0  # a dead channel
    projection = fit_projection(data.mean(axis=0), np.cov(data.T, bias=True), 4)
    found = projection(data.astype(np.float32).reshape(100, 50, 6)).reshape(-1, 4)
    covariance = np.cov(found.T, bias=True)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-3)
    alive = np.delete(data, 2, axis=1)
    values = np.sort(np.linalg.eigvalsh(np.corrcoef(alive.T)))[::-1][:4]
    np.testing.assert_allclose(np.diag(covariance), np.sqrt(values), rtol=1e-3)
    assert projection.first(2).directions.shape == (6, 2)
