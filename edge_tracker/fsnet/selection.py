"""The maps that a target uses: chosen in frame 1, brought to one size (III-D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_tracker.fsnet.mutual_information import least_shared, usable_maps


@dataclass(frozen=True)
class Chosen:
    """The maps of one tap that are used."""

    channels: NDArray[np.intp]
    gain: float  # they are multiplied by this


def choose(taps: Sequence[NDArray[np.float32]], how: str, count: int, random: np.random.Generator) -> list[Chosen]:
    """Of all maps of frame 1, (H, W, C) of each tap, `count` by mutual information ("mi") or at "random", or "all".

    The paper has maps of one layer; of several taps each gives its share of `count`, for its maps are compared on its
    own grid. Maps that are the same everywhere are never taken. A tap is brought to a root mean square of 1.
    """
    total = sum(tap.shape[-1] for tap in taps)
    chosen = []
    for tap in taps:
        maps = tap.reshape(-1, tap.shape[-1])
        share = min(maps.shape[1], max(1, round(count * maps.shape[1] / total)))
        kept = least_shared(maps, share) if how == "mi" else usable_maps(maps)
        if how == "random" and len(kept) > share:
            kept = np.sort(random.choice(kept, share, replace=False))
        if not len(kept):  # a picture of one colour: any maps will do
            kept = np.arange(share)
        chosen.append(Chosen(kept, 1 / root_mean_square(tap)))
    return chosen


def root_mean_square(tap: NDArray[np.float32]) -> float:
    """Of all values; never 0."""
    return max(1e-6, float(np.sqrt(np.square(tap).mean())))
