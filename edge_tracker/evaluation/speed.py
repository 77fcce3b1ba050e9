"""How fast trackers are on the machine at hand, on a clip rendered by us: nothing is needed but the package.

Every tracker goes through the whole clip by itself, one after the other, and all of that several times, so that the
machine's moods reach all alike and only one model is in memory. Times are wall time, decoding excluded: with several
threads that is what the user waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.timing import time_backbones
from edge_tracker.boxes import iou
from edge_tracker.tracker import Tracker
from edge_tracker.video.synthetic import SyntheticClip

BACKBONE_CROPS = 50


@dataclass(frozen=True)
class Setup:
    """What is timed: a method with a model file in an engine. side: of the crop, px, None for the method's own."""

    tracker: str
    path: Path
    engine: str
    threads: int = 1
    side: int | None = None

    def make(self, models_dir: Path | None) -> Tracker:
        """Raises ConfigError or ModelError."""
        settings = [] if self.side is None else [f"input_side={self.side}"]
        return Tracker(
            self.tracker, self.path, engine=self.engine, threads=self.threads, models_dir=models_dir, settings=settings
        )


@dataclass
class Speed:
    """What was measured of a setup; milliseconds of an update, of all rounds together."""

    setup: Setup
    model: str
    precision: str
    side: int  # px, of the crop
    rounds_ms: list[NDArray[np.float64]] = field(default_factory=list)  # per round, of each update
    mean_iou: float = 0.0  # with the clip's truth: a tracker that is quick because it has lost its target is told so
    backbone_p50_ms: float = 0.0  # of the network alone

    @property
    def p50_ms(self) -> float:
        return float(np.percentile(np.concatenate(self.rounds_ms), 50))

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(np.concatenate(self.rounds_ms), 95))

    @property
    def fps(self) -> float:
        """Updates per second of updating."""
        times = np.concatenate(self.rounds_ms)
        return float(1e3 * len(times) / times.sum())


def measure_speeds(
    setups: Sequence[Setup],
    clip: SyntheticClip,
    rounds: int = 3,
    models_dir: Path | None = None,
    on_turn: Callable[[], object] = lambda: None,
) -> list[Speed]:
    """Time all setups on the clip. Raises ConfigError or ModelError. on_turn: called after each of a setup's rounds."""
    images, boxes = zip(*clip, strict=True)
    found: dict[Setup, Speed] = {}
    for _ in range(rounds):
        for setup in setups:
            tracker = setup.make(models_dir)
            info = tracker.backbone.info
            speed = found.setdefault(setup, Speed(setup, info.model, info.precision, info.input_side))
            if not speed.rounds_ms:
                ((speed.backbone_p50_ms, _),) = time_backbones([tracker.backbone], BACKBONE_CROPS)
            times_ms, tracked = zip(*_timed(tracker, images, boxes[0]), strict=True)
            speed.rounds_ms.append(np.array(times_ms))
            speed.mean_iou = float(iou(np.array(tracked), np.array(boxes[1:])).mean())
            on_turn()
    return list(found.values())


def _timed(
    tracker: Tracker, images: Sequence[NDArray[np.uint8]], box: tuple[float, float, float, float]
) -> Iterator[tuple[float, tuple[float, float, float, float]]]:
    """Milliseconds of each update, and the box it gave."""
    tracker.init(images[0], box)
    for image in images[1:]:
        start = time.perf_counter()
        track = tracker.update(image)
        yield 1e3 * (time.perf_counter() - start), track.box
