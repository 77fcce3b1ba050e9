"""How long backbones take, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from edge_tracker.backbones.base import Backbone

ROUNDS = 5
SLOW_MS = 30.0  # backbones above this are timed on a few crops


def time_backbones(backbones: Sequence[Backbone], crops: int = 50) -> list[tuple[float, float]]:
    """Median and 95th percentile of the milliseconds of one crop, per backbone.

    They alternate, so that a change of the machine's load affects all alike: compare times of one call only.
    """
    times_ms: list[list[float]] = [[] for _ in backbones]
    for _ in range(ROUNDS):
        for backbone, taken in zip(backbones, times_ms, strict=True):
            shape = (backbone.info.height, backbone.info.width, 3)
            crop = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            for _ in range(2):  # its code and weights back into the caches
                start = time.perf_counter()
                backbone(crop)
            slow = (time.perf_counter() - start) * 1e3 > SLOW_MS
            for _ in range(2 if slow else max(1, crops // ROUNDS)):
                start = time.perf_counter()
                backbone(crop)
                taken.append((time.perf_counter() - start) * 1e3)
    found = [np.percentile(taken, [50, 95]) for taken in times_ms]
    return [(float(p50), float(p95)) for p50, p95 in found]
