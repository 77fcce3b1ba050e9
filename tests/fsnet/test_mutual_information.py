"""Mutual information against a double loop over pairs and bins, and what is selected by it."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from edge_tracker.fsnet.mutual_information import least_shared, mutual_information, usable_maps


def naive(one: np.ndarray, other: np.ndarray, bins: int) -> float:
    """Of two maps (n,), by the formula of the paper."""
    n = len(one)
    joint = np.zeros((bins, bins))
    scaled = []
    for values in (one, other):
        low, high = float(values.min()), float(values.max())
        scaled.append([min(int(np.float32(v - low) / np.float32(high - low) * bins), bins - 1) for v in values])
    for x, y in zip(*scaled, strict=True):
        joint[x, y] += 1 / n
    total = 0.0
    for x in range(bins):
        for y in range(bins):
            if joint[x, y] > 0:
                total += joint[x, y] * math.log(joint[x, y] / (joint[x].sum() * joint[:, y].sum()))
    return total


def related_maps(random: np.random.Generator, cells: int, count: int) -> np.ndarray:
    """Rectified maps of which some resemble each other: (cells, count)."""
    causes = random.normal(size=(cells, 6))
    mixed = causes @ random.normal(size=(6, count)) + random.uniform(0, 3, count) * random.normal(size=(cells, count))
    return np.maximum(mixed - random.uniform(-1, 4, count), 0).astype(np.float32)


def test_it_equals_a_double_loop() -> None:
    maps = related_maps(np.random.default_rng(0), 150, 40)
    maps = maps[:, usable_maps(maps)]
    found = mutual_information(maps)
    count = maps.shape[1]
    assert count > 30
    for i in range(count):
        assert found[i, i] == 0
        for j in range(i + 1, count):
            assert found[i, j] == found[j, i] == pytest.approx(naive(maps[:, i], maps[:, j], 20), abs=1e-9)


def test_512_maps_take_a_fraction_of_a_second() -> None:
    """.17 s on an idle core, up to twice that beside other processes. A loop over pairs takes a minute."""
    maps = np.random.default_rng(0).random((400, 512), dtype=np.float32)
    seconds = []
    for _ in range(3):  # the processor's time: the machine may be busy
        start = time.process_time()
        mutual_information(maps)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 10, 37, 64])
def test_the_selected_maps_are_those_of_the_whole_matrix(seed: int, count: int) -> None:
    maps = related_maps(np.random.default_rng(seed), 100, 90)
    usable = usable_maps(maps)
    largest = mutual_information(maps[:, usable]).max(axis=1)
    found = least_shared(maps, count)
    assert (np.diff(found) > 0).all()
    assert len(found) == min(count, len(usable))
    chosen = np.isin(usable, found)
    assert chosen.sum() == len(found)
    if chosen.all():
        return
    # Of maps that share equally much, either may be taken.
    assert largest[chosen].max() <= largest[~chosen].min() + 1e-9


def test_a_copy_is_redundant_and_a_map_without_values_is_never_taken() -> None:
    random = np.random.default_rng(0)
    maps = random.random((400, 12)).astype(np.float32)
    maps[:, 3] = maps[:, 7]
    maps[:, 5] = 0
    maps[:, 6] = 2.5
    found = least_shared(maps, 8)
    assert set(found) == set(range(12)) - {3, 7, 5, 6}
    assert set(least_shared(maps, 12)) == set(range(12)) - {5, 6}
