"""Long runs: memory stays flat, and no sequence of odd frames brings the tracker down."""

from __future__ import annotations

import gc
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tracker import Tracker
from tests.conftest import Clip


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def test_memory_stays_flat(clip: Clip) -> None:
    tracker = Tracker()
    tracker.init(clip.images[0], clip.first_box)

    def run(frames: int) -> None:
        for index in range(frames):
            image = clip.images[index % 120]
            if index % 50 == 17:  # black, another size, and init again, as a day in the life of a camera
                tracker.update(np.zeros((480, 640, 3), np.uint8))
            if index % 120 == 0:
                tracker.init(image, clip.boxes[0])
            tracker.update(image)

    run(300)
    gc.collect()
    before = resident_mb()
    run(1500)
    gc.collect()
    assert resident_mb() - before < 8


@pytest.fixture(scope="module", params=["accurate", "fast", "fmst"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    fewer = {"accurate": ["place.views=2"], "fast": [], "fmst": ["candidates=50", "averaged=1"]}  # quicker starts
    return Tracker(request.param, settings=fewer[request.param])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["noise", "flat", "dot"])),
        min_size=1,
        max_size=6,
    ),
    st.tuples(st.floats(-0.5, 0.9), st.floats(-0.5, 0.9), st.floats(0.6, 3), st.floats(0.6, 3)),
)
def test_any_frames_give_a_usable_box(
    tracker: Tracker, frames: list[tuple[int, int, str]], share: tuple[float, float, float, float]
) -> None:
    for number, (width, height, kind) in enumerate(frames):
        image = np.zeros((height, width, 3), np.uint8)
        if kind == "noise":
            image = np.random.default_rng(number).integers(0, 256, image.shape, dtype=np.uint8)
        elif kind == "dot":
            image[height // 2, width // 2] = 255
        if number == 0:
            tracker.init(image, (share[0] * width, share[1] * height, share[2] * width, share[3] * height))
        track = tracker.update(image)
        x, _, w, h = track.box
        assert np.isfinite(track.box).all()
        assert 0 <= track.confidence <= 1
        assert w > 0
        assert h > 0
        if track.confidence > 0:  # else it may have seen nothing and left the box as the user gave it
            assert -1e-6 <= x + w / 2 <= width + 1e-6
