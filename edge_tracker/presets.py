"""The closed-form tracker's settings by name, and which of them "auto" takes on this machine."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import numpy as np

from edge_tracker.backbones.base import Backbone
from edge_tracker.backbones.catalogue import user_cache
from edge_tracker.backbones.host import cpu
from edge_tracker.config import DcfConfig
from edge_tracker.dcf.basis import Basis
from edge_tracker.dcf.tracker import DcfTracker

PRESETS = {
    "accurate": DcfConfig(),
    # Without the fine tap; what is left is learned and measured less often.
    "fast": DcfConfig(
        fine_weight=0,
        scale_every=2,
        scale_levels=11,
        gate_low=0.05,  # the response lacks what the fine tap adds
        gate_high=0.3,
        lost_after=6,  # no refiner has a word
        trail_height=0.3,
    ),
}
ENOUGH_FPS = 30.0  # updates per second that "auto" wants
TIMED_FRAMES = 30

log = logging.getLogger(__name__)


def automatic(backbone: Backbone, basis: Basis, engine: str, threads: int) -> str:
    """The name of the best preset that reaches ENOUGH_FPS on this machine; "fast" where none does.

    Measured once for a machine, model, engine and number of threads, and then kept in the user's cache.
    backbone: gives the taps of "accurate".
    """
    store = user_cache() / "auto.json"
    info = backbone.info
    key = " | ".join((*map(str, cpu()), info.model, info.precision, engine, f"{threads} threads"))
    known = _read(store)
    milliseconds = known.get(key)
    if milliseconds is None:
        milliseconds = known[key] = update_ms(DcfTracker(backbone, basis, PRESETS["accurate"]))
        _write(store, known)
    return "accurate" if milliseconds * ENOUGH_FPS <= 1000 else "fast"


def update_ms(tracker: DcfTracker) -> float:
    """Median milliseconds of an update, on noise that drifts."""
    random = np.random.default_rng(0)
    scene = np.repeat(np.repeat(random.integers(0, 256, (80, 80, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)
    tracker.init(np.ascontiguousarray(scene[:480]), (300.0, 200.0, 60.0, 80.0))
    seconds = []
    for frame in range(TIMED_FRAMES):
        image = np.ascontiguousarray(scene[frame : 480 + frame])
        start = time.perf_counter()
        tracker.update(image)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds) * 1e3)


def _read(store: Path) -> dict[str, float]:
    try:
        known = json.loads(store.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):  # absent, or damaged: it is measured anew
        return {}


def _write(store: Path, known: dict[str, float]) -> None:
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        partial = store.with_name(store.name + ".partial")
        partial.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        partial.replace(store)
    except OSError as error:  # a read-only home: it is measured at every start
        log.debug("cannot keep %s: %s", store, error)
