"""How fast trackers are on this machine, measured on a rendered clip: nothing but the package is needed.

The trackers run one after the other, each through the whole clip, and all of this several times. So a change of the
machine's load affects all alike, and only one model is in memory. Times are wall time without decoding: with several
threads this is the time that a user waits.
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

BACKBONE_CROPS = 50  # crops on which a backbone is timed


@dataclass(frozen=True)
class Setup:
    """What is timed: a method with a model file in an engine. side: of the crop, pixels; None: the method's default."""

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
    """The measurements of a setup. Milliseconds are per update, over all rounds."""

    setup: Setup
    model: str
    precision: str
    side: int  # of the crop, pixels
    rounds_ms: list[NDArray[np.float64]] = field(default_factory=list)  # one array per round, one value per update
    mean_iou: float = 0.0  # with the ground truth: shows a tracker that is fast because it has lost its target
    backbone_p50_ms: float = 0.0  # median of the network alone

    @property
    def p50_ms(self) -> float:
        return float(np.percentile(np.concatenate(self.rounds_ms), 50))

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(np.concatenate(self.rounds_ms), 95))

    @property
    def fps(self) -> float:
        """Updates per second, decoding excluded."""
        times = np.concatenate(self.rounds_ms)
        return float(1e3 * len(times) / times.sum())


def measure_speeds(
    setups: Sequence[Setup],
    clip: SyntheticClip,
    rounds: int = 3,
    models_dir: Path | None = None,
    on_turn: Callable[[], object] = lambda: None,
) -> list[Speed]:
    """Time all setups on the clip. on_turn: called after each round of a setup. Raises ConfigError or ModelError."""
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
    """Milliseconds and box of each update."""
    tracker.init(images[0], box)
    for image in images[1:]:
        start = time.perf_counter()
        track = tracker.update(image)
        yield 1e3 * (time.perf_counter() - start), track.box
