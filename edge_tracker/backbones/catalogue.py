"""The models this package knows by name, where they are found, and how a file is loaded into an engine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_tracker.backbones.base import Backbone
from edge_tracker.errors import ConfigError, ModelError

ENGINES = ("onnxruntime",)
MODELS_VARIABLE = "EDGE_TRACKER_MODELS"
PACKAGED = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True)
class Weights:
    """Official weights of a model: where they are and how to know them. torchvision's file names end in the first
    8 hex digits of the file's SHA-256."""

    url: str
    sha256_prefix: str


@dataclass(frozen=True)
class CatalogueEntry:
    """A model by name. Accuracy is that of FMST with it, OPE on 12 tasks of OTB2013, docs/results.md."""

    name: str
    licence: str
    source: str
    accuracy: str
    weights: Weights | None = None

    @property
    def file(self) -> str:
        return f"{self.name}.onnx"

    @property
    def weight_network_file(self) -> str:
        """Of the network trained on this model's features; the file states so, and is refused with any other."""
        return f"{self.name}.weights.safetensors"


_TORCHVISION = "https://download.pytorch.org/models/"
CATALOGUE: tuple[CatalogueEntry, ...] = (  # "auto" takes the first that is present
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
    CatalogueEntry(
        "filterbank",
        "Apache-2.0",
        "made by hand, converters/filterbank.py; in the package",
        "precision 61.3 %, success 35.8 %",
    ),
)


@dataclass(frozen=True)
class ModelCard:
    """What a converter writes beside a model file, `<file>.json`: enough to tell whether it is the file it was."""

    model: str
    bytes: int
    sha256: str
    licence: str
    source: str
    weights: str  # what it was converted from: file name and SHA-256

    @classmethod
    def of(cls, path: Path, entry: CatalogueEntry, weights: str) -> ModelCard:
        digest = sha256_of(path)
        return cls(entry.name, path.stat().st_size, digest, entry.licence, entry.source, weights)

    def describes(self, path: Path) -> bool:
        """True if the file at `path` is the one this card was written for."""
        return (path.stat().st_size, sha256_of(path)) == (self.bytes, self.sha256)

    @classmethod
    def read(cls, model_path: Path) -> ModelCard | None:
        """The card of a model file, None where there is none. Raises ModelError for one that cannot be read."""
        path = card_path(model_path)
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"the model card {path} cannot be read: {error}") from error

    def write(self, model_path: Path) -> None:
        card_path(model_path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def card_path(model_path: Path) -> Path:
    return model_path.with_name(model_path.name + ".json")


def entry_of(name: str) -> CatalogueEntry:
    """The entry called `name`. Raises ModelError that lists the names."""
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    raise ModelError(f"no model is called '{name}'; known: {', '.join(e.name for e in CATALOGUE)}")


def user_cache() -> Path:
    """Where downloaded models are kept: $XDG_CACHE_HOME/edge-tracker, by default ~/.cache/edge-tracker."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-tracker"


def search_path(models_dir: str | Path | None = None) -> list[Path]:
    """Folders looked through for models, first to last."""
    variable = os.environ.get(MODELS_VARIABLE)
    return [Path(p) for p in (models_dir, variable) if p] + [PACKAGED, user_cache()]


def locate(name: str, models_dir: str | Path | None = None) -> Path | None:
    """The file of the model called `name`, None where no folder of the search path holds it."""
    for folder in search_path(models_dir):
        path = folder / entry_of(name).file
        if path.is_file():
            return path
    return None


def find_model(model: str | Path, models_dir: str | Path | None = None) -> Path:
    """Resolve a name, a path or "auto" to a model file. Raises ModelError that says where was looked."""
    if models_dir is not None and not Path(models_dir).is_dir():
        raise ModelError(f"no folder {models_dir} (--models-dir)")
    if isinstance(model, Path) or os.sep in model or model.endswith(".onnx"):
        if not Path(model).is_file():
            raise ModelError(f"no model file at {model}")
        return Path(model)
    names = [entry.name for entry in CATALOGUE] if model == "auto" else [entry_of(model).name]
    for name in names:
        path = locate(name, models_dir)
        if path is not None:
            return path
    looked = ", ".join(str(folder) for folder in search_path(models_dir))
    what = "no model" if model == "auto" else f"model '{model}' is not"
    raise ModelError(f"{what} in {looked}; get one with: edge-track models pull {names[0]}")


def find_weight_network(model: str, models_dir: str | Path | None = None, chosen: str | Path | None = None) -> Path:
    """The weight network file of the model called `model`, or the `chosen` one. Raises ModelError that says where was
    looked."""
    if chosen is not None:
        return Path(chosen)
    entry = entry_of(model)
    folders = search_path(models_dir)
    for folder in folders:
        if (path := folder / entry.weight_network_file).is_file():
            return path
    have = [e.name for e in CATALOGUE if any((f / e.weight_network_file).is_file() for f in folders)]
    raise ModelError(f"no weight network for model '{model}'; there is one for: {', '.join(have) or 'none'}")


def engines_found() -> list[str]:
    """The engines that can be imported here."""
    return [name for name in ENGINES if importlib.util.find_spec(name) is not None]


def load_backbone(
    path: Path, engine: str = "auto", threads: int = 1, purposes: Collection[str] = ("selection",)
) -> Backbone:
    """Load a model file into an engine, to give the taps of `purposes` (`base.PURPOSES`).

    Raises ConfigError for an unknown engine, ModelError for a bad file or one without such taps.
    """
    if engine not in ("auto", *ENGINES):
        raise ConfigError(f"engine is auto or one of {', '.join(ENGINES)}, not {engine!r}")
    from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone

    return OnnxRuntimeBackbone(path, threads, purposes)
