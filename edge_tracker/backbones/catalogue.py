"""The models this package knows by name, where they are found, and how a file is loaded into an engine."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_tracker.backbones.base import INPUT_SIDE, PRECISIONS, Backbone
from edge_tracker.backbones.host import cpu
from edge_tracker.errors import ConfigError, ModelError, OutputError


@dataclass(frozen=True)
class Engine:
    """What runs models: the files it takes, its own kind first, and where its adapter is."""

    suffixes: tuple[str, ...]
    packages: tuple[str, ...]  # any of these does
    module: str
    adapter: str
    extra: str | None  # of this package, that installs it

    @property
    def installed(self) -> bool:
        return any(importlib.util.find_spec(package) is not None for package in self.packages)


ENGINES: dict[str, Engine] = {  # the first that is installed and takes a file runs it, unless another is asked for
    "onnxruntime": Engine(
        (".onnx",), ("onnxruntime",), "edge_tracker.backbones.onnxruntime_engine", "OnnxRuntimeBackbone", None
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
MODELS_VARIABLE = "EDGE_TRACKER_MODELS"
PACKAGED = Path(__file__).resolve().parents[1] / "models"

# What lies beside a model's files, called `MODEL<ending>`: what it is and what makes it. Each states whose it is.
HEAD, WEIGHT_NETWORK = ".head.npz", ".weights.safetensors"
COMPANIONS = {
    HEAD: ("head", "scripts/fit_head.py"),
    WEIGHT_NETWORK: ("weight network", "scripts/train_weight_network.py"),
}


@dataclass(frozen=True)
class Weights:
    """Official weights of a model: where they are and how to know them. torchvision's file names end in the first
    8 hex digits of the file's SHA-256."""

    url: str
    sha256_prefix: str


@dataclass(frozen=True)
class CatalogueEntry:
    """A model by name. Accuracy is that of FMST with it, OPE on 12 tasks of OTB2013, docs/results.md; for models of our
    own it is on the card of each file."""

    name: str
    licence: str
    source: str
    accuracy: str
    weights: Weights | None = None

    @property
    def file(self) -> str:
        """What the file of full precision is called; see `variants` for the others."""
        return f"{self.name}.onnx"


_TORCHVISION = "https://download.pytorch.org/models/"
CATALOGUE: tuple[CatalogueEntry, ...] = (  # "auto" takes the first that is present
    CatalogueEntry(
        "edge-small",
        "Apache-2.0",
        "ours: MobileNetV3-Small, trained by scripts/train_backbone.py; in the package",
        "on its card",
    ),
    CatalogueEntry(
        "edge-large",
        "Apache-2.0",
        "ours: MobileNetV3-Large, trained by scripts/train_backbone.py; in the package",
        "on its card",
    ),
    CatalogueEntry(
        "mobilenetv3-small",
        "BSD-3-Clause",
        "torchvision, IMAGENET1K_V1",
        "precision 78.0 %, success 50.0 %",
        Weights(_TORCHVISION + "mobilenet_v3_small-047dcff4.pth", "047dcff4"),
    ),
    CatalogueEntry(
        "mobilenetv3-large",
        "BSD-3-Clause",
        "torchvision, IMAGENET1K_V1",
        "not measured: no weights at hand",
        Weights(_TORCHVISION + "mobilenet_v3_large-8738ca79.pth", "8738ca79"),
    ),
    CatalogueEntry(
        "mobilenetv3-large-minimalistic",
        "Apache-2.0",
        "Google, v3-large-minimalistic_224_1.0 (convert its .npz with converters/to_onnx.py)",
        "precision 88.4 %, success 56.3 %",
    ),
    CatalogueEntry(
        "vgg16",
        "BSD-3-Clause",
        "torchvision, IMAGENET1K_V1",
        "not measured: no weights at hand",
        Weights(_TORCHVISION + "vgg16-397923af.pth", "397923af"),
    ),
)


@dataclass(frozen=True)
class Measured:
    """How fast a model file was where it was converted. Times are medians of one run, one thread."""

    engine: str
    cpu: str
    p50_ms: float
    fp32_p50_ms: float  # the same model in full precision, in the same engine
    packaged_p50_ms: float  # the packaged model in ONNX Runtime: what makes engines comparable

    @property
    def pays(self) -> bool:
        """Whether this file is faster than full precision, by more than the measurement's noise."""
        return self.p50_ms < 0.95 * self.fp32_p50_ms


@dataclass(frozen=True)
class Training:
    """How a model was trained to see as a teacher does: what scripts/train_backbone.py writes beside the weights."""

    teacher: str  # name, file and SHA-256 of its weights
    data: str
    command: str
    crops: int
    hours: float
    correlation: Mapping[str, float]  # with the teacher on unseen pictures, by tapped block: median over channels

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Training:
        """From JSON. Raises KeyError, ValueError, TypeError or AttributeError for what is none."""
        teacher, data, command = (str(fields[name]) for name in ("teacher", "data", "command"))
        correlation = {str(block): float(value) for block, value in fields["correlation"].items()}
        return cls(teacher, data, command, int(fields["crops"]), float(fields["hours"]), correlation)


@dataclass(frozen=True)
class Accuracy:
    """How well a tracker tracks with a model: OPE, %, mean and deviation over seeds; scripts/model_card.py."""

    tracker: str
    data: str
    seeds: int
    precision: float
    precision_deviation: float
    success: float
    success_deviation: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Accuracy:
        """From JSON. Raises KeyError, ValueError or TypeError for what is none."""
        names = ("precision", "precision_deviation", "success", "success_deviation")
        values = (float(fields[name]) for name in names)
        return cls(str(fields["tracker"]), str(fields["data"]), int(fields["seeds"]), *values)


@dataclass(frozen=True)
class ModelCard:
    """What a converter writes beside a model file, `<file>.json`: enough to tell whether it is the file it was.

    `training` and `accuracy` are put there by scripts/model_card.py.
    """

    model: str
    bytes: int
    sha256: str
    licence: str
    source: str
    weights: str  # what it was converted from: file name and SHA-256
    precision: str = "fp32"
    failed_gates: tuple[str, ...] = ()  # what it was written in spite of, with --force
    measured: Measured | None = None
    training: Training | None = None
    accuracy: tuple[Accuracy, ...] = ()

    @classmethod
    def of(
        cls,
        path: Path,
        entry: CatalogueEntry,
        weights: str,
        precision: str = "fp32",
        failed_gates: tuple[str, ...] = (),
        measured: Measured | None = None,
    ) -> ModelCard:
        size, digest = size_of_model(path), sha256_of(*files_of(path))
        return cls(entry.name, size, digest, entry.licence, entry.source, weights, precision, failed_gates, measured)

    def describes(self, path: Path) -> bool:
        """True if the file at `path` is the one this card was written for."""
        return (size_of_model(path), sha256_of(*files_of(path))) == (self.bytes, self.sha256)

    @classmethod
    def read(cls, model_path: Path) -> ModelCard | None:
        """The card of a model file, None where there is none. Raises ModelError for one that cannot be read."""
        path = card_path(model_path)
        if not path.is_file():
            return None
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            fields["failed_gates"] = tuple(fields.get("failed_gates", ()))
            if fields.get("measured") is not None:
                fields["measured"] = Measured(**fields["measured"])
            if fields.get("training") is not None:
                fields["training"] = Training.of(fields["training"])
            fields["accuracy"] = tuple(Accuracy.of(row) for row in fields.get("accuracy", ()))
            return cls(**fields)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise ModelError(f"the model card {path} cannot be read: {error}") from error

    def write(self, model_path: Path) -> None:
        """Write the card of the model file at `model_path`. Raises OutputError."""
        fields = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        try:
            card_path(model_path).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {card_path(model_path)}: {error.strerror or error}") from error


def files_of(path: Path) -> list[Path]:
    """The files a model consists of: OpenVINO keeps the weights of `NAME.xml` in `NAME.bin`."""
    weights = path.with_suffix(".bin")
    return [path, weights] if path.suffix == ".xml" and weights.is_file() else [path]


def size_of_model(path: Path) -> int:
    """Bytes of all its files."""
    return sum(file.stat().st_size for file in files_of(path))


def sha256_of(*paths: Path) -> str:
    """SHA-256 of a file, or of several as if they were one, in hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def card_path(model_path: Path) -> Path:
    return model_path.with_name(model_path.name + ".json")


def entry_of(name: str) -> CatalogueEntry:
    """The entry called `name`. Raises ModelError that lists the names."""
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    raise ModelError(f"no model is called '{name}'; known: {', '.join(e.name for e in CATALOGUE)}")


def user_cache() -> Path | None:
    """What is kept for a user: $XDG_CACHE_HOME/edge-tracker, by default ~/.cache/edge-tracker; None for a user without
    a home (a container, a systemd service)."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-tracker"
    except RuntimeError:
        return None


def search_path(models_dir: str | Path | None = None) -> list[Path]:
    """Folders looked through for models, first to last."""
    variable = os.environ.get(MODELS_VARIABLE)
    return [Path(p) for p in (models_dir, variable, PACKAGED, user_cache()) if p]


def variants(name: str, models_dir: str | Path | None = None) -> list[Path]:
    """All files of the model called `name` on the search path, in its order.

    They are called `NAME.SUFFIX` or `NAME.PRECISION.SUFFIX`, `mobilenetv3-small.int8.tflite` for one.
    """
    stem = entry_of(name).name
    endings = [f"{middle}{suffix}" for suffix in SUFFIXES for middle in ("", *(f".{p}" for p in PRECISIONS))]
    paths = [folder / (stem + ending) for folder in search_path(models_dir) for ending in endings]
    return [path for path in paths if path.is_file()]


def locate(name: str, models_dir: str | Path | None = None, engine: str = "auto") -> Path | None:
    """The best file of the model called `name` that `engine` can run, of the first folder that holds any, or None.

    Best is what was measured to be fastest on this kind of processor, if it beats full precision; then full precision,
    in the order of ENGINES. Files written in spite of failed gates come last. Raises ModelError for a broken card.
    """
    usable = [path for path in variants(name, models_dir) if runners(path, engine)]
    nearest = [path for path in usable if path.parent == usable[0].parent]
    return min(nearest, key=lambda path: _rank(path, engine), default=None)


def runners(path: Path, engine: str = "auto") -> list[str]:
    """The installed engines that take this file, of those asked for; the one whose own kind it is first."""
    names = ENGINES if engine == "auto" else (engine,)
    found = [name for name in names if ENGINES[name].installed and path.suffix in ENGINES[name].suffixes]
    return sorted(found, key=lambda name: ENGINES[name].suffixes.index(path.suffix))


def _rank(path: Path, engine: str) -> tuple[float, ...]:
    """The lower the better."""
    card = ModelCard.read(path)
    if card and card.failed_gates:
        return (3,)
    runner = runners(path, engine)[0]
    precision = card.precision if card else next((p for p in PRECISIONS if path.stem.endswith(f".{p}")), "fp32")
    if not precision.startswith("int8"):
        suffixes = ENGINES[runner].suffixes
        return (1, list(ENGINES).index(runner), suffixes.index(path.suffix), PRECISIONS.index(precision))
    measured = card.measured if card else None
    if measured and measured.pays and measured.cpu == cpu()[0] and measured.engine in runners(path, engine):
        return (0, measured.p50_ms / measured.packaged_p50_ms)
    return (2,)


def find_model(model: str | Path, models_dir: str | Path | None = None, engine: str = "auto") -> Path:
    """Resolve a name, a path or "auto" to a model file that `engine` runs. Raises ModelError that says where was
    looked, ConfigError for an unknown engine."""
    check_engine(engine)
    if models_dir is not None and not Path(models_dir).is_dir():
        raise ModelError(f"no folder {models_dir} (--models-dir)")
    if isinstance(model, Path) or os.sep in model or model.endswith(SUFFIXES):
        if not Path(model).is_file():
            raise ModelError(f"no model file at {model}")
        return Path(model)
    names = [entry.name for entry in CATALOGUE] if model == "auto" else [entry_of(model).name]
    for name in names:
        path = locate(name, models_dir, engine)
        if path is not None:
            return path
    looked = ", ".join(str(folder) for folder in search_path(models_dir))
    what = "no model" if model == "auto" else f"model '{model}' is not"
    kind = "" if engine == "auto" else f" for {engine} ({', '.join(ENGINES[engine].suffixes)})"
    raise ModelError(f"{what} in {looked}{kind}; get one with: edge-track models pull {names[0]}")


def check_engine(engine: str) -> None:
    """Raise ConfigError for an unknown engine, ModelError for one that is not installed."""
    if engine == "auto":
        return
    if engine not in ENGINES:
        raise ConfigError(f"engine is auto or one of {', '.join(ENGINES)}, not {engine!r}")
    if not ENGINES[engine].installed:
        raise ModelError(f"{engine} is not installed: {_install(ENGINES[engine])}")


def _install(engine: Engine) -> str:
    return f"pip install 'edge-tracker[{engine.extra}]'" if engine.extra else f"pip install {engine.packages[0]}"


def find_companion(model: str, ending: str, models_dir: str | Path | None = None) -> Path:
    """The file that belongs to the model called `model`: its head (HEAD) or its weight network (WEIGHT_NETWORK).

    Raises ModelError that says which models have one, and what to do.
    """
    folders = search_path(models_dir)
    for folder in folders:
        if (path := folder / f"{model}{ending}").is_file():
            return path
    what, script = COMPANIONS[ending]
    have = [e.name for e in CATALOGUE if any((folder / f"{e.name}{ending}").is_file() for folder in folders)]
    raise ModelError(
        f"model '{model}' has no {what} for this tracker; there is one for: {', '.join(have) or 'none'}. Make one with "
        f"{script} and put it into a folder of models, or choose --tracker fmst"
    )


def companions(model: str, models_dir: str | Path | None = None) -> list[Path]:
    """All files of the model called `model` beside the model itself: heads, weight networks."""
    folders = search_path(models_dir)
    return [path for f in folders for ending in COMPANIONS if (path := f / f"{model}{ending}").is_file()]


def engines_found() -> list[str]:
    """The engines that can be imported here."""
    return [name for name, engine in ENGINES.items() if engine.installed]


def load_backbone(
    path: Path,
    engine: str = "auto",
    threads: int = 1,
    purposes: Collection[str] = ("selection",),
    side: int = INPUT_SIDE,
) -> Backbone:
    """Load a model file into an engine, to give the taps of `purposes` (`base.PURPOSES`) of crops of `side` pixels.

    Raises ConfigError for an unknown engine, ModelError for a bad file, one without such taps, or one that no installed
    engine runs.
    """
    check_engine(engine)
    found = runners(path, engine)
    if not found:
        takers = [e for name, e in ENGINES.items() if path.suffix in e.suffixes and engine in ("auto", name)]
        hint = _install(takers[0]) if takers else f"models are {', '.join(SUFFIXES)} files"
        raise ModelError(f"{path} needs another engine than {engine}: {hint}")
    chosen = ENGINES[found[0]]
    adapter = getattr(importlib.import_module(chosen.module), chosen.adapter)
    backbone: Backbone = adapter(path, threads, purposes, side)
    return backbone
