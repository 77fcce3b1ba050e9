"""While LOST: which places are looked at, and what is followed meanwhile. What is seen there is made up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_tracker.boxes import Box, centre, scaled
from edge_tracker.closed_form.belief import Belief
from edge_tracker.closed_form.colour import counts
from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.closed_form.redetection import PITCH, REMEMBERED, SIZES, ZOOM, Redetection, Search, Sighting
from edge_tracker.track import TrackState

GOOD: Box = (40.0, 40.0, 30.0, 20.0)  # where it was believed last
TRAIL: Box = (200.0, 150.0, 30.0, 20.0)  # where it was given up
ROI_PX = 96.0
SIZE = (320, 240)
LIKELY, UNLIKELY = 0.9, 0.1
SETTINGS = BeliefSettings(trail_height=0.3)


def scene(random: np.random.Generator) -> np.ndarray:
    """Blotches of 8 px, (240, 320, 3)."""
    return np.repeat(np.repeat(random.integers(60, 200, (30, 40, 3), dtype=np.uint8), 8, 0), 8, 1)


IMAGE = scene(np.random.default_rng(6))


def lost() -> Belief:
    belief = Belief(SETTINGS)
    while belief.state is not TrackState.LOST:
        belief.follow(0.0)
    return belief


def redetection() -> Redetection:
    view = IMAGE[:20, :30]
    return Redetection(GOOD, TRAIL, Search(GOOD, ROI_PX, SIZE, view, counts(view) / counts(view).sum()))


class Looks:
    """Looks that find what they are told to, and remember where they looked."""

    def __init__(self, find: Callable[[Box], tuple[float, float]]) -> None:
        self.places: list[Box] = []
        self.sought: list[bool] = []
        self._find = find

    def __call__(self, place: Box, seeking: bool) -> Sighting:
        self.places.append(place)
        self.sought.append(seeking)
        probability, height = self._find(place)
        return Sighting(place, probability, height)


def steps(redetecting: Redetection, looks: Looks, frames: range) -> list[Sighting]:
    return [redetecting.step(IMAGE, looks, lost(), frame) for frame in frames]


def test_there_are_two_looks_a_frame_whatever_they_find() -> None:
    for probability in (LIKELY, UNLIKELY):
        for height in (0.0, 0.9):
            looks = Looks(lambda _, p=probability, h=height: (p, h))  # type: ignore[misc]
            steps(redetection(), looks, range(1, 9))
            assert len(looks.places) == 16


def test_the_trail_is_followed_while_the_filters_answer_there() -> None:
    looks = Looks(lambda place: (UNLIKELY, 0.4 if place == TRAIL else 0.0))
    again = redetection()
    steps(again, looks, range(1, 7))
    assert looks.places[::2] == [TRAIL] * 6
    assert (again.box, again.elsewhere) == (TRAIL, False)
    # The other look is at the last good place every other frame, so that it is not forgotten.
    assert looks.places[1::2][::2] == [GOOD] * 3
    assert GOOD not in looks.places[1::2][1::2]


def test_after_a_jerk_of_the_camera_what_is_followed_is_looked_at_where_it_went() -> None:
    x, y, w, h = TRAIL
    again = redetection()
    again.shift(5.0, -3.0)
    looks = Looks(lambda _: (UNLIKELY, 0.9))
    steps(again, looks, range(1, 2))
    assert looks.places[0] == (x + 5.0, y - 3.0, w, h)
    again.trail = None
    again.shift(5.0, -3.0)
    assert again.box == GOOD


def test_in_doubt_the_trail_is_followed_whatever_the_filters_answer() -> None:
    looks = Looks(lambda _: (UNLIKELY, 0.0))
    again = redetection()
    for frame in range(1, 7):
        again.step(IMAGE, looks, Belief(SETTINGS), frame)
    assert (
        looks.sought == [False, False, True] * 3
    )  # it is judged as what is followed; every other frame looks elsewhere
    assert [place == TRAIL for place in looks.places] == [True, True, False] * 3
    assert looks.places[2] == GOOD  # every other time
    assert GOOD not in looks.places[3:6]
    assert again.box == TRAIL
    steps(again, looks, range(7, 8))
    assert looks.sought[-2:] == [True, True]


def test_a_trail_that_answers_no_more_is_dropped_for_the_last_good_place() -> None:
    looks = Looks(lambda _: (UNLIKELY, 0.2))
    again = redetection()
    steps(again, looks, range(1, 5))
    assert looks.places[0] == TRAIL
    assert all(centre(place) == pytest.approx(centre(GOOD)) for place in looks.places[2::2])


def test_what_is_followed_no_more_is_looked_for_in_several_sizes() -> None:
    """It may come back nearer or farther away: at the last good place as elsewhere, by the scan as by the grid."""
    looks = Looks(lambda _: (UNLIKELY, 0.0))
    again = redetection()
    again.trail = None
    steps(again, looks, range(1, 31))
    widths = {round(GOOD[2] * size, 6) for size in SIZES}
    assert len(widths) > 3
    here, elsewhere = looks.places[::2], looks.places[1::2]
    assert {round(place[2], 6) for place in here} == widths
    assert all(centre(place) == pytest.approx(centre(GOOD)) for place in here)
    assert {round(place[2], 6) for place in elsewhere[2::3]} == widths  # the grid's
    assert {round(place[2], 6) for place in elsewhere[::3] + elsewhere[1::3]} == widths


def test_what_was_just_found_is_compared_with_other_places_in_every_frame() -> None:
    """And left, at once, for one that is more like the target."""
    belief, again = lost(), redetection()
    first: Box = (100.0, 100.0, 30.0, 20.0)
    second: Box = (250.0, 60.0, 30.0, 20.0)
    again._search = _Fixed(first)  # type: ignore[assignment]
    assert not again.elsewhere
    for frame in range(2, 6):
        looks = Looks(lambda place: (0.8 if centre(place) == centre(first) else UNLIKELY, 0.9))
        belief.seek(again.step(IMAGE, looks, belief, frame).probability, again.elsewhere)
    assert centre(again.box) == pytest.approx(centre(first))
    assert again.elsewhere
    assert (belief.state, belief.searching) == (TrackState.UNCERTAIN, True)  # of a confidence of nearly .8
    again._search = _Fixed(second)  # type: ignore[assignment]
    looks = Looks(lambda place: (0.95 if centre(place) == centre(second) else 0.9, 0.9))
    for frame in (6, 7):
        belief.seek(again.step(IMAGE, looks, belief, frame).probability, again.elsewhere)
    assert len(looks.places) == 4
    assert centre(again.box) == pytest.approx(centre(second))


def test_what_is_likely_is_followed_until_it_is_so_no_more() -> None:
    there: Box = (100.0, 100.0, 30.0, 20.0)
    found = [LIKELY, LIKELY, UNLIKELY, UNLIKELY]
    again = redetection()
    followed = []
    for frame, probability in enumerate(found):
        looks = Looks(
            lambda place, p=probability, n=frame: (p if n or place not in (TRAIL, GOOD) else UNLIKELY, 0.0)  # type: ignore[misc]
        )
        if frame == 0:
            again._search = _Fixed(there)  # type: ignore[assignment]
        again.step(IMAGE, looks, lost(), 2 * frame)
        followed.append((looks.places[0], again.box))
    assert followed[0] == (TRAIL, there)
    assert followed[1][0] == there
    assert followed[2] == (there, GOOD)
    assert followed[3][0] == GOOD


class _Fixed:
    """A search that always says the same place."""

    def __init__(self, place: Box) -> None:
        self._place = place

    def next(self, _: object) -> Box:
        return self._place


def test_what_is_likely_is_looked_at_larger_and_smaller_too() -> None:
    looks = Looks(lambda place: (LIKELY if centre(place) == centre(TRAIL) else UNLIKELY, 0.9))
    steps(redetection(), looks, range(1, 9))
    others = looks.places[1::2]
    widths = [place[2] for place in others if centre(place) == pytest.approx(centre(TRAIL))]
    assert widths == pytest.approx([TRAIL[2] * ZOOM, TRAIL[2] / ZOOM] * 2, rel=0.3)
    assert max(widths) > TRAIL[2] > min(widths)


def test_the_more_probable_of_the_two_is_taken() -> None:
    other = redetection()
    best = steps(other, Looks(lambda place: (0.6 if place == TRAIL else 0.8, 0.9)), range(2, 3))[0]
    assert best.probability == 0.8
    assert best.box != TRAIL
    best = steps(redetection(), Looks(lambda place: (0.8 if place == TRAIL else 0.6, 0.9)), range(2, 3))[0]
    assert (best.box, best.probability) == (TRAIL, 0.8)
    # A second place that is not likely is not followed, though it is more probable than the first.
    unlikely = redetection()
    steps(unlikely, Looks(lambda place: (0.1 if place == TRAIL else 0.4, 0.9)), range(2, 3))
    assert unlikely.box == TRAIL


def test_in_images_of_another_size_the_search_begins_anew_from_the_good_place() -> None:
    small: Box = (20.0, 20.0, 15.0, 10.0)
    lost_trail = redetection()
    lost_trail.trail = None
    again = lost_trail.rescaled(small, small, ROI_PX / 2, (160, 120))
    assert again.box == small
    looks = Looks(lambda _: (UNLIKELY, 0.9))
    image = np.ascontiguousarray(IMAGE[::2, ::2])
    for frame in range(2, 12):
        again.step(image, looks, lost(), frame)
    assert all(centre(place) == pytest.approx(centre(small)) for place in looks.places[::2])
    sizes = {scaled(small, size)[2:] for size in SIZES}
    assert {place[2:] for place in looks.places} <= sizes
    centres = np.array([centre(place) for place in looks.places])
    assert (centres >= 0).all()
    assert (centres <= (160, 120)).all()


def test_in_images_of_another_size_what_was_found_is_still_followed() -> None:
    found: Box = (100.0, 100.0, 30.0, 20.0)
    again = redetection()
    again._search = _Fixed(found)  # type: ignore[assignment]
    steps(again, Looks(lambda place: (LIKELY if centre(place) == centre(found) else UNLIKELY, 0.9)), range(2, 3))
    assert again.elsewhere
    again._search = redetection()._search
    small: Box = (50.0, 50.0, 15.0, 10.0)
    other = again.rescaled((20.0, 20.0, 15.0, 10.0), small, ROI_PX / 2, (160, 120))
    assert (other.box, other.elsewhere) == (small, True)


def test_in_images_of_another_size_what_was_followed_in_doubt_is_still_followed() -> None:
    trail: Box = (50.0, 50.0, 15.0, 10.0)
    again = redetection().rescaled((20.0, 20.0, 15.0, 10.0), trail, ROI_PX / 2, (160, 120))
    assert (again.box, again.elsewhere) == (trail, False)


def target(random: np.random.Generator) -> np.ndarray:
    return np.repeat(np.repeat(random.integers(0, 256, (5, 5, 3), dtype=np.uint8), 6, 0), 6, 1)  # 30 px


def searching(view: np.ndarray, home: Box = (40.0, 40.0, 30.0, 30.0)) -> Search:
    return Search(home, ROI_PX, SIZE, view, counts(view) / counts(view).sum())


def scans(search: Search, image: np.ndarray, count: int) -> list[Box]:
    """The places that the scan chose; each third is the grid's."""
    return [place for k, place in enumerate(search.next(image) for _ in range(count * 3 // 2)) if k % 3 != 2]


def near(place: Box, x: float, y: float) -> bool:
    return abs(place[0] - x) < 8 and abs(place[1] - y) < 8


def test_the_scan_finds_what_resembles_the_target() -> None:
    random = np.random.default_rng(4)
    image, view = scene(random), target(random)
    image[150:180, 220:250] = view
    search = searching(view)
    first = search.next(image)
    assert first[2:] == (30.0, 30.0)
    assert near(first, 220, 150)
    small = search.rescaled((20.0, 20.0, 15.0, 15.0), ROI_PX / 2, (160, 120))
    x, y, w, h = small.next(np.ascontiguousarray(image[::2, ::2]))
    assert (w, h) == (15.0, 15.0)
    assert (x, y) == pytest.approx((110, 75), abs=5)


def test_the_scan_tires_of_a_place_and_comes_back_to_it() -> None:
    """Of two that look alike, and one a little more so, it looks at both in turn."""
    random = np.random.default_rng(4)
    image, view = scene(random), target(random)
    image[150:180, 220:250] = view
    noisy = view.astype(int) + random.integers(-25, 26, view.shape)
    image[60:90, 60:90] = np.clip(noisy, 0, 255)
    places = scans(searching(view), image, 8)
    assert near(places[0], 220, 150)
    assert near(places[1], 60, 60)
    assert 2 <= sum(near(place, 220, 150) for place in places) <= 5
    assert 2 <= sum(near(place, 60, 60) for place in places) <= 5
    assert len(places) > REMEMBERED


def test_the_scan_goes_by_colours_as_well() -> None:
    """Of two with the same pattern in grey, it takes the one with the target's colours first."""
    random = np.random.default_rng(4)
    image, view = scene(random), target(random)
    grey = np.repeat((view @ np.array([0.114, 0.587, 0.299])).round().astype(np.uint8)[..., None], 3, axis=2)
    image[150:180, 220:250] = view
    image[60:90, 60:90] = grey
    assert near(searching(view).next(image), 220, 150)
    image[150:180, 220:250], image[60:90, 60:90] = grey, view
    assert near(searching(view).next(image), 60, 60)


@pytest.mark.parametrize("seed", range(4, 9))
def test_the_scan_goes_by_the_pattern_as_well(seed: int) -> None:
    """Of two with the same colours, it takes the one with the target's pattern first."""
    random = np.random.default_rng(seed)
    image, view = scene(random), target(random)
    image[150:180, 220:250], image[60:90, 60:90] = view, view[::-1, ::-1]
    assert near(searching(view).next(image), 220, 150)
    image[150:180, 220:250], image[60:90, 60:90] = view[::-1, ::-1], view
    assert near(searching(view).next(image), 60, 60)


def test_each_third_look_is_the_grids_and_the_nearest_comes_first() -> None:
    random = np.random.default_rng(4)
    image, view = scene(random), target(random)
    image[150:180, 220:250] = view
    search = searching(view)
    grid = [search.next(image) for _ in range(12)][2::3]
    away = [max(abs(x - 40), abs(y - 40)) for x, y, _, _ in grid]
    assert max(away) <= PITCH * ROI_PX
    assert len(set(grid)) == 4


@pytest.mark.parametrize("home", [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 320.0, 240.0), (100.0, 5.0, 200.0, 3.0)])
def test_the_search_copes_with_odd_targets_and_plain_frames(home: Box) -> None:
    search = Search(home, 50.0, SIZE, np.zeros((1, 1, 3), np.uint8), np.full(512, 1 / 512))
    for image in (scene(np.random.default_rng(5)), np.zeros((240, 320, 3), np.uint8)):
        for _ in range(6):
            x, y, w, h = search.next(image)
            assert (w, h) == home[2:]
            assert 0 <= x + w / 2 <= 320
            assert 0 <= y + h / 2 <= 240


def test_what_is_likely_is_more_likely_the_target_than_not() -> None:
    assert not Belief(SETTINGS).likely(0.5)
    assert not Belief(SETTINGS).likely(0.45)
    assert Belief(SETTINGS).likely(0.55)
