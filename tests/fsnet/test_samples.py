"""Which boxes are drawn, and how long they are remembered."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker.boxes import iou
from edge_tracker.fsnet import samples

AREA = (0.0, 0.0, 320.0, 320.0)


@pytest.mark.parametrize("box", [(130.0, 140.0, 64.0, 64.0), (100.0, 20.0, 20.0, 150.0), (150.0, 150.0, 3.0, 2.0)])
def test_positives_overlap_by_more_than_t1_negatives_by_less_than_t2(box: tuple[float, float, float, float]) -> None:
    random = np.random.default_rng(0)
    drawn = samples.drawn(box, 50, 200, AREA, random)
    assert drawn.shape == (250, 4)
    overlaps = iou(drawn, np.array(box))
    assert overlaps[:50].min() > 0.7
    assert overlaps[50:].max() < 0.5
    assert len(np.unique(drawn, axis=0)) == 250
    near = overlaps[50:150]
    assert (near > 0).mean() > 0.5  # half of them are close by
    centres = drawn[150:, :2] + drawn[150:, 2:] / 2
    assert centres.min() < 60
    assert centres.max() > 260


def test_candidates_lie_around_the_last_place() -> None:
    boxes = samples.around((100.0, 100.0, 40.0, 20.0), 4000, 0.3, 0.05, np.random.default_rng(0))
    off = boxes[:, :2] + boxes[:, 2:] / 2 - np.array([120.0, 110.0])
    np.testing.assert_allclose(off.std(axis=0), 9.0, rtol=0.05)
    np.testing.assert_allclose(boxes[:, 2] / boxes[:, 3], 2.0)
    assert np.log(boxes[:, 2] / 40).std() == pytest.approx(0.05, rel=0.05)


def test_the_lattice_covers_its_reach_evenly() -> None:
    boxes = samples.lattice((140.0, 150.0, 40.0, 20.0), (192.0, 192.0), 0.25)
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    np.testing.assert_allclose(centres.mean(axis=0), [160.0, 160.0])
    assert np.abs(centres - 160).max() <= 96
    assert np.abs(centres - 160).max(axis=0).min() > 96 - 10
    assert (boxes[:, 2:] == [40, 20]).all()
    np.testing.assert_allclose(np.diff(np.unique(centres[:, 0])), 10.0)


def test_frame_1_stays_and_the_oldest_frame_makes_room() -> None:
    memory = samples.Memory(first=(5, 7), later=(2, 3), frames=(4, 2))
    assert memory.capacity == 5 + 7 + 4 * 2 + 2 * 3
    written: dict[int, tuple[str, int]] = {}
    for kind, places in zip("pn", memory.places_of_first(), strict=True):
        written |= {int(place): (kind, 0) for place in places}
    for frame in range(1, 11):
        for kind, places in zip("pn", memory.add(), strict=True):
            assert len(places) == {"p": 2, "n": 3}[kind]
            written |= {int(place): (kind, frame) for place in places}
    assert max(written) < memory.capacity

    def frames(places: np.ndarray, kind: str) -> list[int]:
        assert all(written[int(place)][0] == kind for place in places)
        return [written[int(place)][1] for place in places]

    assert frames(memory.positives(), "p") == [0] * 5 + [7, 7, 8, 8, 9, 9, 10, 10]
    assert frames(memory.positives(1), "p") == [0] * 5 + [10, 10]
    assert frames(memory.positives(0), "p") == [0] * 5
    assert frames(memory.negatives(), "n") == [0] * 7 + [9, 9, 9, 10, 10, 10]
