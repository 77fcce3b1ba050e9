"""The tracking methods by name, and how each is made ready: heavy once, light often.

`prepare` loads the backbone's session and the head once; the `Prepared` then gives any number of fresh targets on them,
which take turns in one thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions, Purpose
from edge_tracker.backbones.cards import files_of
from edge_tracker.backbones.catalogue import COMPANIONS, FSNET, HEAD, WEIGHT_NETWORK, Model, find_model, user_cache
from edge_tracker.backbones.engines import engine_versions, load_backbone, runner_of
from edge_tracker.backbones.host import cpu
from edge_tracker.closed_form.config import FAST, ClosedFormConfig
from edge_tracker.closed_form.head import load_head
from edge_tracker.closed_form.tracker import ClosedFormTracker
from edge_tracker.errors import ConfigError, OutputError
from edge_tracker.files import write_text
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.fmst.weight_files import load_weight_network
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.networks import network_for
from edge_tracker.fsnet.pretrained import Pretrained, read_pretrained
from edge_tracker.fsnet.tracker import FsnetTracker
from edge_tracker.settings import assign, converted, decode, unknown
from edge_tracker.threads import one_thread
from edge_tracker.track import Method
from edge_tracker.version import __version__

ENOUGH_FPS = 30.0  # updates per second that "auto" wants
TIMED_FRAMES = 30
MEASURED_AGAIN_S = 7 * 24 * 3600.0  # a machine that was busy when it was measured gets another chance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a method is made: its settings, the taps it reads, the file beside the model, and what builds a target."""

    summary: str
    config: Any  # the settings it has unless others are given
    taps: Callable[[Any], tuple[Purpose, ...]]  # settings -> the taps it reads
    load: Callable[[Backbone, Model, Path | None], Any]  # backbone, where its file was found, file asked for -> head
    build: Callable[[Backbone, Any, Any], Method]  # backbone, head, settings -> a fresh target
    deferred: bool = False  # `build` asks the backbone for projections, which loads it


def _closed_form_head(backbone: Backbone, model: Model, file: Path | None) -> Any:
    if file is not None:
        raise ConfigError("only fmst-net takes a weight network")
    return load_head(model.companion(backbone.info, HEAD), backbone.info)


def _no_head(_: Backbone, __: Model, file: Path | None) -> None:
    if file is not None:
        raise ConfigError("only fmst-net takes a weight network")


def _weight_network(backbone: Backbone, model: Model, file: Path | None) -> Any:
    return load_weight_network(file or model.companion(backbone.info, WEIGHT_NETWORK), backbone.info)


def _both(_: ClosedFormConfig) -> tuple[Purpose, ...]:
    return PURPOSES


def _selection(_: FmstConfig) -> tuple[Purpose, ...]:
    return ("selection",)


def _layers(config: FsnetConfig) -> tuple[Purpose, ...]:
    chosen: dict[str, tuple[Purpose, ...]] = {"both": PURPOSES, "deep": ("selection",), "fine": ("localisation",)}
    return chosen[config.maps.layers]


def _pretrained(backbone: Backbone, model: Model, file: Path | None) -> Pretrained | None:
    """None where there is no such file of the model's name: FSNet's classifier then begins at random, no worse."""
    _no_head(backbone, model, file)
    if not model.files(backbone.info.model, FSNET):
        return None
    return read_pretrained(model.companion(backbone.info, FSNET), backbone.info)


def _fsnet(backbone: Backbone, pretrained: Pretrained | None, config: FsnetConfig) -> FsnetTracker:
    return FsnetTracker(network_for(backbone, config), config, pretrained)


METHODS: dict[str, Recipe] = {
    "accurate": Recipe(
        "closed-form filter, and a network that corrects the box in every frame",
        ClosedFormConfig(),
        _both,
        _closed_form_head,
        ClosedFormTracker,
        deferred=True,
    ),
    "fast": Recipe(
        "closed-form filter, and a network that corrects the box in every third frame",
        FAST,
        _both,
        _closed_form_head,
        ClosedFormTracker,
        deferred=True,
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
    "fsnet": Recipe(
        "a classifier of boxes on selected maps, fine-tuned while tracking (second paper)",
        FsnetConfig(),
        _layers,
        _pretrained,
        _fsnet,
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
    device: str = "cpu",
    models_dir: str | Path | None = None,
    config: Any = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    weight_network: str | Path | None = None,
) -> Prepared:
    """Load what a method needs; the arguments are those of `Tracker`. Raises ConfigError or ModelError."""
    if not isinstance(tracker, str) or tracker not in TRACKERS:
        raise ConfigError(unknown(str(tracker), TRACKERS).replace("setting", "tracker"))
    for name, given, optional in (
        ("model", model, False),
        ("engine", engine, False),
        ("models_dir", models_dir, True),
        ("weight_network", weight_network, True),
    ):
        if not isinstance(given, str | Path) and not (optional and given is None):
            raise ConfigError(f"{name} is a name or a path, not {given!r}")
    kinds = {type(recipe.config) for recipe in METHODS.values()}
    if config is not None and type(config) not in kinds:
        wanted = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ConfigError(f"config is one of {wanted}, not {type(config).__name__}")
    options = EngineOptions(engine, threads, cast(Any, device))
    found = find_model(model, models_dir, engine)
    file = Path(weight_network) if weight_network is not None else None
    if tracker == "auto":
        if config is not None and not isinstance(config, ClosedFormConfig):
            raise ConfigError(f"tracker auto is set up by ClosedFormConfig, not by {type(config).__name__}")
        if config is not None:
            tracker = "accurate"
        else:
            remembered = recall(found, options)
            if remembered is None:
                accurate = _prepared("accurate", METHODS["accurate"].config, file, found, options)
                tracker = _measured(accurate, found, options)
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
    return _prepared(tracker, config, file, found, options)


def _prepared(tracker: str, config: Any, file: Path | None, model: Model, options: EngineOptions) -> Prepared:
    recipe = METHODS[tracker]
    side = getattr(config, "input_side", options.height)
    wanted = replace(options, taps=recipe.taps(config), height=side, width=side, deferred=recipe.deferred)
    backbone = load_backbone(model.path, wanted)
    head = recipe.load(backbone, model, file)
    recipe.build(backbone, head, config)  # what does not fit together is said now, not with the first target
    companions = [path for ending in COMPANIONS for path in model.files(backbone.info.model, ending)]
    files = (*files_of(model.path), *([file] if file else []), *companions)
    return Prepared(tracker, backbone, config, files, head, recipe.build)


def recall(model: Model, options: EngineOptions) -> str | None:
    """What "auto" has chosen on this machine before, None where that is to be measured (again). Raises ModelError where
    no engine runs the model."""
    store = _store()
    known = _read(store).get(_key(model, options)) if store else None
    if known is None or (known[0] == AUTOMATIC[1] and time.time() - known[1] > MEASURED_AGAIN_S):
        return None
    return known[0]


def _measured(accurate: Prepared, model: Model, options: EngineOptions) -> str:
    """The best of AUTOMATIC that reaches ENOUGH_FPS on this machine, measured and remembered."""
    milliseconds = update_ms(accurate.new_target())
    choice = AUTOMATIC[0] if milliseconds * ENOUGH_FPS <= 1000 else AUTOMATIC[1]
    if store := _store():
        known = _read(store)
        known[_key(model, options)] = choice, time.time()
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
            write_text(store, json.dumps(known, indent=2) + "\n")
        except (OSError, OutputError) as error:  # a read-only home: it is measured at every start
            log.debug("cannot keep %s: %s", store, error)
    return choice


def _store() -> Path | None:
    cache = user_cache()
    return cache / "auto.json" if cache else None


def _key(model: Model, options: EngineOptions) -> str:
    """All that the speed depends on: machine, files, package and engine with their versions, threads, device. Files are
    told apart by size and time: to hash them takes twice as long as all the rest of this."""
    name = runner_of(model.path, options.engine)
    versions = [__version__, *engine_versions(name)]
    heads = model.files(model.card.model if model.card else model.path.name.split(".")[0], HEAD)
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (*files_of(model.path), *heads)]
    state = [*map(str, cpu()), *map(str, files), name, *versions, str(options.threads), options.device]
    return hashlib.sha256("\n".join(state).encode()).hexdigest()


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
    """Key -> what was chosen, and when (Unix time); nothing of a file that is absent or damaged: measure anew."""
    try:
        if store.stat().st_size > 1 << 20:
            return {}
        found = converted(decode(store.read_bytes(), str(store)), dict[str, tuple[str, float]], str(store))
        return {key: row for key, row in found.items() if row[0] in AUTOMATIC}
    except (OSError, ConfigError):
        return {}
