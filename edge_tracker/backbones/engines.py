"""The engines that run models: the files each takes, whether it is installed, and how a file is loaded into one."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_tracker.backbones.base import Backbone, EngineOptions
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.errors import ConfigError, ModelError
from edge_tracker.settings import unknown

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """What runs models: the files it takes, its own kind first, and where its adapter is."""

    suffixes: tuple[str, ...]
    packages: tuple[str, ...]  # any of these does
    module: str
    adapter: str
    extra: str | None  # of this package, that installs it
    devices: tuple[str, ...] = ("cpu",)

    @property
    def installed(self) -> bool:
        return any(map(_is_there, self.packages))

    @property
    def hint(self) -> str:
        """How to install it."""
        return f"pip install 'edge-tracker[{self.extra}]'" if self.extra else f"pip install {self.packages[0]}"


@functools.cache
def _is_there(package: str) -> bool:
    """Whether a package can be imported: to look takes longer than to read a model's card, and is done often."""
    return importlib.util.find_spec(package) is not None


ENGINES: dict[str, Engine] = {  # the first that is installed and takes a file runs it, unless another is asked for
    "onnxruntime": Engine(
        (".onnx",),
        ("onnxruntime",),
        "edge_tracker.backbones.onnxruntime_engine",
        "OnnxRuntimeBackbone",
        None,
        ("cpu", "cuda"),
    ),
    "openvino": Engine(
        (".xml", ".onnx"), ("openvino",), "edge_tracker.backbones.openvino_engine", "OpenVinoBackbone", "openvino"
    ),
    "litert": Engine(
        (".tflite",),
        ("ai_edge_litert", "tflite_runtime"),
        "edge_tracker.backbones.litert_engine",
        "LiteRtBackbone",
        "litert",
    ),
}
SUFFIXES = tuple(dict.fromkeys(suffix for engine in ENGINES.values() for suffix in engine.suffixes))


def engines_found() -> list[str]:
    """The engines that can be imported here."""
    return [name for name, engine in ENGINES.items() if engine.installed]


def runners(path: Path, engine: str = "auto") -> list[str]:
    """The installed engines that take this file, of those asked for; the one whose own kind it is first."""
    names = ENGINES if engine == "auto" else (engine,)
    found = [name for name in names if ENGINES[name].installed and path.suffix in ENGINES[name].suffixes]
    return sorted(found, key=lambda name: ENGINES[name].suffixes.index(path.suffix))


def engine_versions(engine: str) -> list[str]:
    """The versions of an engine's packages, "-" for one that is not there. Imports it: who asks will run it, and the
    installer's records take ten times as long to read."""
    importlib.import_module(ENGINES[engine].module)
    return [str(getattr(sys.modules.get(package), "__version__", "-")) for package in ENGINES[engine].packages]


def check_engine(engine: str) -> None:
    """Raise ConfigError for an unknown engine, ModelError for one that is not installed."""
    if engine == "auto":
        return
    if engine not in ENGINES:
        raise ConfigError(unknown(str(engine), ["auto", *ENGINES]).replace("setting", "engine"))
    if not ENGINES[engine].installed:
        raise ModelError(f"{engine} is not installed: {ENGINES[engine].hint}")


def runner_of(path: Path, engine: str = "auto") -> str:
    """The engine that runs this file. Raises ConfigError for an unknown engine, ModelError where none does."""
    check_engine(engine)
    if found := runners(path, engine):
        return found[0]
    takers = [each for each in ENGINES.values() if path.suffix in each.suffixes]
    if not takers:
        raise ModelError(f"{path} is no model file: those end in {', '.join(SUFFIXES)}")
    if engine != "auto":
        raise ModelError(f"{path} is not for {engine}, which takes {', '.join(ENGINES[engine].suffixes)} files")
    raise ModelError(f"{path} needs an engine that is not installed: {takers[0].hint}")


def load_backbone(path: Path, options: EngineOptions | None = None) -> Backbone:
    """Load a model file into an engine; the taps come in the order of `options.taps`.

    Raises ConfigError for an unknown engine, ModelError for a bad file, one that is not as its card says, one without
    such taps, or one that no installed engine runs.
    """
    options = options or EngineOptions()
    name = runner_of(path, options.engine)
    if (card := ModelCard.read(path)) and (difference := card.difference(path)):
        raise ModelError(f"{path} is broken: {difference}")
    chosen = ENGINES[name]
    if options.device not in chosen.devices:
        log.warning("%s runs on the processor: %s is not run on %s here", path.name, name, options.device)
    adapter = getattr(importlib.import_module(chosen.module), chosen.adapter)
    backbone: Backbone = adapter(path, options)
    return backbone
