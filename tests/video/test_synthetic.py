"""The synthetic clip: its truth is what its pixels show, and all that it promises happens."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.video.synthetic import ROUND, WHOLE, ClipSource, SyntheticClip


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return SyntheticClip(frames=WHOLE)


@pytest.fixture(scope="module")
def images(clip: SyntheticClip) -> list[NDArray[np.uint8]]:
    return [image for image, _ in clip]


def red(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels far redder than the ground, the other disc and the panel get."""
    b, g, r = (image[..., k].astype(int) for k in range(3))
    return r - np.maximum(g, b) > 100


def test_the_truth_is_where_the_red_is(clip: SyntheticClip, images: list[NDArray[np.uint8]]) -> None:
    for image, (x, y, w, h), visible in zip(images, clip.boxes, clip.visible, strict=True):
        found = red(image)
        if visible == 0:
            assert found.sum() < 0.02 * w * h
        elif visible > 0.999:
            inside = np.zeros_like(found)
            inside[round(y) : round(y + h), round(x) : round(x + w)] = True
            assert found[inside].sum() > 0.3 * w * h
            assert found[~inside].sum() < 0.02 * w * h


def test_it_is_hidden_once_and_leaves_once(clip: SyntheticClip) -> None:
    away = np.flatnonzero(clip.visible == 0)
    runs = np.split(away, np.flatnonzero(np.diff(away) > 1) + 1)
    assert [len(run) for run in runs] == [14, 40]
    x, _, w, _ = clip.boxes[runs[0]].T
    assert (x > 0).all()  # behind the panel
    assert (x + w < clip.width).all()
    assert clip.boxes[runs[1][20], 0] + clip.boxes[runs[1][20], 2] < 0  # out of the picture
    assert (clip.visible[:ROUND] > 0.999).all()
    assert (clip.visible[-15:] > 0.999).all()


def test_the_short_clip_is_the_beginning_of_the_whole(images: list[NDArray[np.uint8]]) -> None:
    for (image, _), again in zip(SyntheticClip(frames=5), images, strict=False):
        np.testing.assert_array_equal(image, again)


def test_another_seed_gives_another_clip(images: list[NDArray[np.uint8]]) -> None:
    image, _ = next(iter(SyntheticClip(frames=1, seed=8)))
    assert (image != images[0]).mean() > 0.9


def test_it_is_a_source_of_frames(images: list[NDArray[np.uint8]]) -> None:
    with ClipSource(SyntheticClip(frames=4)) as source:
        frames = list(source)
    assert source.length == 4
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    np.testing.assert_array_equal(frames[3].image, images[3])
