"""The tracking methods by name, and how each is made ready: heavy once, light often.

`prepare` loads the backbone's session and the head once; the `Prepared` then gives any number of fresh targets on them,
which take turns in one thread.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_tracker.backbones.base import PURPOSES, Backbone
from edge_tracker.backbones.catalogue import (
    ENGINES,
    HEAD,
    WEIGHT_NETWORK,
    companions,
    find_companion,
    find_model,
    load_backbone,
    runners,
    sha256_of,
    user_cache,
)
from edge_tracker.backbones.host import cpu
from edge_tracker.closed_form.config import FAST, ClosedFormConfig
from edge_tracker.closed_form.head import load_head
from edge_tracker.closed_form.tracker import ClosedFormTracker
from edge_tracker.errors import ConfigError, OutputError
from edge_tracker.files import write_text
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.fmst.weight_files import load_weight_network
from edge_tracker.settings import assign, unknown
from edge_tracker.threads import one_thread
from edge_tracker.track import Method

ENOUGH_FPS = 30.0  # updates per second that "auto" wants
TIMED_FRAMES = 30
MOST_THREADS = 64
MEASURED_AGAIN_S = 7 * 24 * 3600.0  # a machine that was busy when it was measured gets another chance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a method is made: its settings, the taps it reads, the file beside the model, and what builds a target."""

    summary: str
    config: Any  # the settings it has unless others are given
    purposes: Callable[[Any], Sequence[str]]  # settings -> taps, see `backbones.base.PURPOSES`
    load: Callable[[Backbone, str | Path | None, Path | None], Any]  # backbone, folder, file -> head
    build: Callable[[Backbone, Any, Any], Method]  # backbone, head, settings -> a fresh target


def _closed_form_head(backbone: Backbone, models_dir: str | Path | None, file: Path | None) -> Any:
    if file is not None:
        raise ConfigError("only fmst-net takes a weight network")
    return load_head(find_companion(backbone.info.model, HEAD, models_dir), backbone.info)


def _no_head(_: Backbone, __: str | Path | None, file: Path | None) -> None:
    if file is not None:
        raise ConfigError("only fmst-net takes a weight network")


def _weight_network(backbone: Backbone, models_dir: str | Path | None, file: Path | None) -> Any:
    path = file or find_companion(backbone.info.model, WEIGHT_NETWORK, models_dir)
    return load_weight_network(path, backbone.info)


def _closed_form_taps(config: ClosedFormConfig) -> Sequence[str]:
    return PURPOSES if config.fine is not None else PURPOSES[:1]


def _selection(_: FmstConfig) -> Sequence[str]:
    return PURPOSES[:1]


METHODS: dict[str, Recipe] = {
    "accurate": Recipe(
        "closed-form filters on two taps, and a network that corrects the box",
        ClosedFormConfig(),
        _closed_form_taps,
        _closed_form_head,
        ClosedFormTracker,
    ),
    "fast": Recipe(
        "closed-form filter on the coarse tap alone", FAST, _closed_form_taps, _closed_form_head, ClosedFormTracker
    ),
    "fmst": Recipe(
        "feature map selection (first paper)",
        FmstConfig(),
        _selection,
        _no_head,
        lambda backbone, _, config: FmstTracker(backbone, config),
    ),
    "fmst-net": Recipe(
        "feature map selection with the weight-vector network (first paper, section 4)",
        FmstConfig(),
        _selection,
        _weight_network,
        lambda backbone, network, config: FmstTracker(backbone, config, network),
    ),
}
AUTOMATIC = ("accurate", "fast")  # what "auto" chooses from, best first
TRACKERS = ("auto", *METHODS)


@dataclass(frozen=True)
class Prepared:
    """A method with its session and head loaded."""

    name: str  # of the method; what "auto" has chosen
    backbone: Backbone
    config: Any
    files: tuple[Path, ...]  # the model and what lies beside it, which no output may overwrite
    _head: Any
    _build: Callable[[Backbone, Any, Any], Method]

    def new_target(self) -> Method:
        """A fresh target on the shared session and head. All targets of one Prepared belong to one thread at a time."""
        return self._build(self.backbone, self._head, self.config)


def prepare(
    tracker: str = "auto",
    model: str | Path = "auto",
    *,
    engine: str = "auto",
    threads: int = 1,
    models_dir: str | Path | None = None,
    config: Any = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    weight_network: str | Path | None = None,
) -> Prepared:
    """Load what a method needs; the arguments are those of `Tracker`. Raises ConfigError or ModelError."""
    if not isinstance(tracker, str) or tracker not in TRACKERS:
        raise ConfigError(unknown(str(tracker), TRACKERS).replace("setting", "tracker"))
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"threads is a whole number between 1 and {MOST_THREADS}, not {threads!r}")
    if not isinstance(model, str | Path):
        raise ConfigError(f"model is a name or a path, not {model!r}")
    path = find_model(model, models_dir, engine)
    file = Path(weight_network) if weight_network is not None else None
    choice = {"path": path, "engine": engine, "threads": threads, "models_dir": models_dir}
    if tracker == "auto":
        if isinstance(config, FmstConfig):
            raise ConfigError("tracker auto is set up by ClosedFormConfig, not by FmstConfig")
        if config is not None:
            tracker = "accurate" if config.fine is not None else "fast"
        else:
            remembered = recall(path, engine, threads)
            if remembered is None:
                accurate = _prepared("accurate", METHODS["accurate"].config, file, **choice)
                tracker = _measured(accurate, path, engine, threads)
            else:
                tracker = remembered
    recipe = METHODS[tracker]
    config = recipe.config if config is None else config
    if type(config) is not type(recipe.config):
        wanted = type(recipe.config).__name__
        raise ConfigError(f"tracker {tracker} is set up by {wanted}, not by {type(config).__name__}")
    config = assign(config, settings)
    if seed is not None:
        config = replace(config, seed=seed)
    return _prepared(tracker, config, file, **choice)


def _prepared(
    tracker: str,
    config: Any,
    file: Path | None,
    *,
    path: Path,
    engine: str,
    threads: int,
    models_dir: str | Path | None,
) -> Prepared:
    recipe = METHODS[tracker]
    backbone = load_backbone(path, engine, threads, recipe.purposes(config), getattr(config, "input_side", 224))
    head = recipe.load(backbone, models_dir, file)
    recipe.build(backbone, head, config)  # what does not fit together is said now, not with the first target
    files = (path, *([file] if file else []), *companions(backbone.info.model, models_dir))
    return Prepared(tracker, backbone, config, files, head, recipe.build)


def recall(path: Path, engine: str, threads: int) -> str | None:
    """What "auto" has chosen on this machine before, None where that is to be measured (again)."""
    store = _store()
    known = _read(store).get(_key(path, engine, threads)) if store else None
    if known is None or (known[0] == AUTOMATIC[1] and time.time() - known[1] > MEASURED_AGAIN_S):
        return None
    return known[0]


def _measured(accurate: Prepared, path: Path, engine: str, threads: int) -> str:
    """The best of AUTOMATIC that reaches ENOUGH_FPS on this machine, measured and remembered."""
    milliseconds = update_ms(accurate.new_target())
    choice = AUTOMATIC[0] if milliseconds * ENOUGH_FPS <= 1000 else AUTOMATIC[1]
    if store := _store():
        known = _read(store)
        known[_key(path, engine, threads)] = choice, time.time()
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
            write_text(store, json.dumps(known, indent=2) + "\n")
        except (OSError, OutputError) as error:  # a read-only home: it is measured at every start
            log.debug("cannot keep %s: %s", store, error)
    return choice


def _store() -> Path | None:
    cache = user_cache()
    return cache / "auto.json" if cache else None


def _key(path: Path, engine: str, threads: int) -> str:
    """All that the speed depends on: machine, files, package and engine with their versions, threads."""
    name = next(iter(runners(path, engine)), engine)
    versions = [_version("edge-tracker"), *(_version(p.replace("_", "-")) for p in ENGINES[name].packages)]
    state = [*map(str, cpu()), sha256_of(path), name, *versions, str(threads)]
    return hashlib.sha256("\n".join(state).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def update_ms(target: Method) -> float:
    """Median milliseconds of an update, on noise that drifts."""
    random = np.random.default_rng(0)
    scene = np.repeat(np.repeat(random.integers(0, 256, (80, 80, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)
    seconds = []
    with one_thread():
        target.init(np.ascontiguousarray(scene[:480]), (300.0, 200.0, 60.0, 80.0))
        for frame in range(TIMED_FRAMES):
            image = np.ascontiguousarray(scene[frame : 480 + frame])
            start = time.perf_counter()
            target.update(image)
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds) * 1e3)


def _read(store: Path) -> dict[str, tuple[str, float]]:
    try:
        if store.stat().st_size > 1 << 20:
            return {}
        known = json.loads(store.read_text(encoding="utf-8"))
        return {str(key): (str(name), float(when)) for key, (name, when) in known.items() if name in AUTOMATIC}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):  # absent or damaged: it is measured anew
        return {}
