"""The models this package knows by name, and where their files are found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge_tracker.backbones.base import PRECISIONS, BackboneInfo
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.companion import read_owner
from edge_tracker.backbones.engines import ENGINES, SUFFIXES, check_engine, runners
from edge_tracker.backbones.host import cpu
from edge_tracker.errors import ModelError, refused
from edge_tracker.settings import unknown

MODELS_VARIABLE = "EDGE_TRACKER_MODELS"
PACKAGED = Path(__file__).resolve().parents[1] / "models"

# What lies beside a model's files, called `MODEL<ending>`: what it states to be, and what makes it.
HEAD, WEIGHT_NETWORK, FSNET = ".head.safetensors", ".weights.safetensors", ".fsnet.safetensors"
COMPANIONS = {
    HEAD: ("head", "scripts/fit_head.py"),
    WEIGHT_NETWORK: ("weight network", "scripts/train_weight_network.py"),
    FSNET: ("pre-trained classifier", "scripts/train_fsnet.py"),
}


@dataclass(frozen=True)
class CatalogueEntry:
    """A model by name. Accuracy is that of FMST with it, OPE on 12 tasks of OTB2013, docs/results.md; for models of our
    own it is on the card of each file."""

    name: str
    licence: str
    source: str
    accuracy: str
    how_to_get: str = "reinstall edge-tracker, which has it"

    @property
    def file(self) -> str:
        """What the file of full precision is called; see `variants` for the others."""
        return f"{self.name}.onnx"


_DOWNLOAD = "in a checkout: python converters/downloads.py"
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
        f"{_DOWNLOAD} mobilenetv3-small",
    ),
    CatalogueEntry(
        "mobilenetv3-large",
        "BSD-3-Clause",
        "torchvision, IMAGENET1K_V1",
        "not measured: no weights at hand",
        f"{_DOWNLOAD} mobilenetv3-large",
    ),
    CatalogueEntry(
        "mobilenetv3-large-minimalistic",
        "Apache-2.0",
        "Google, v3-large-minimalistic_224_1.0",
        "precision 88.4 %, success 56.3 %",
        "in a checkout: python converters/to_onnx.py --model mobilenetv3-large-minimalistic --weights its.npz",
    ),
    CatalogueEntry(
        "vgg16",
        "BSD-3-Clause",
        "torchvision, IMAGENET1K_V1",
        "not measured: no weights at hand",
        f"{_DOWNLOAD} vgg16",
    ),
    CatalogueEntry(
        "vgg-m",
        "its authors' (CC BY by their page)",
        "MatConvNet, imagenet-vgg-m.mat; for --tracker fsnet",
        "not measured: no weights at hand",
        "in a checkout: python converters/to_onnx.py --model vgg-m --weights imagenet-vgg-m.mat",
    ),
    CatalogueEntry(
        "edge-vgg-m",
        "Apache-2.0",
        "ours: VGG-M's conv1 to conv3, trained by scripts/train_vgg_m.py; in a checkout; for --tracker fsnet",
        "on its card",
        "in a checkout: --models-dir extra-models (it is too large for the package)",
    ),
    CatalogueEntry(
        "edge-vgg-m-256",
        "Apache-2.0",
        "ours: VGG-M's conv1 to conv3 with 256 maps of conv3, as the FSNet paper's 256FNet; in a checkout",
        "on its card",
        "in a checkout: --models-dir extra-models (it is too large for the package)",
    ),
)


@dataclass(frozen=True)
class Model:
    """A model file that was found, and where what belongs to it is looked for."""

    path: Path
    card: ModelCard | None  # None: it has none
    folders: tuple[Path, ...]  # the search path, and its own folder

    def files(self, model: str, ending: str) -> list[Path]:
        """All files called `model` + `ending`, whether they belong to this model file or to another of that name."""
        return [path for folder in self.folders if (path := folder / f"{model}{ending}").is_file()]

    def companion(self, info: BackboneInfo, ending: str) -> Path:
        """The file that belongs to this model, which states `info`: its head (HEAD) or weight network (WEIGHT_NETWORK).

        The first of its name whose fingerprint is the model's. Raises ModelError that says what there is instead, and
        what to do.
        """
        what, script = COMPANIONS[ending]
        strangers = []
        for path in self.files(info.model, ending):
            owner = read_owner(path, what)
            if owner.fingerprint == info.fingerprint:
                return path
            strangers.append(f"{path} belongs to a {owner.model} of other weights ({owner.fingerprint[:12]})")
        if strangers:
            raise ModelError(
                f"{self.path} ({info.fingerprint[:12]}) has no {what}: {'; '.join(strangers)}. Make one with {script}"
            )
        have = [entry.name for entry in CATALOGUE if self.files(entry.name, ending)]
        raise ModelError(
            f"model '{info.model}' has no {what} for this tracker; there is one for: {', '.join(have) or 'none'}. "
            f"Make one with {script} and put it into a folder of models, or choose --tracker fmst"
        )


def entry_of(name: str) -> CatalogueEntry:
    """The entry called `name`. Raises ModelError that names the nearest."""
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    raise ModelError(unknown(name, [entry.name for entry in CATALOGUE]).replace("setting", "model"))


def user_cache() -> Path | None:
    """What is kept for a user: $XDG_CACHE_HOME/edge-tracker, by default ~/.cache/edge-tracker; None for a user without
    a home (a container, a systemd service)."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-tracker"
    except RuntimeError:
        return None


def search_path(models_dir: str | Path | None = None) -> list[Path]:
    """Folders looked through for models, first to last. Raises ModelError where the one that is asked for is none."""
    with refused(ModelError, f"cannot read the folder {models_dir}"):
        if models_dir is not None and not Path(models_dir).is_dir():
            raise ModelError(f"no folder {models_dir} (--models-dir)")
    variable = os.environ.get(MODELS_VARIABLE)
    return [Path(p) for p in (models_dir, variable, PACKAGED, user_cache()) if p]


def variants(name: str, models_dir: str | Path | None = None) -> list[Path]:
    """All files of the model called `name` on the search path, in its order.

    They are called `NAME.SUFFIX` or `NAME.PRECISION.SUFFIX`, `mobilenetv3-small.int8.tflite` for one.
    """
    stem = entry_of(name).name
    endings = [f"{middle}{suffix}" for suffix in SUFFIXES for middle in ("", *(f".{p}" for p in PRECISIONS))]
    found: list[Path] = []
    for folder in search_path(models_dir):
        with refused(ModelError, f"cannot look for models in {folder}"):
            found += [path for ending in endings if (path := folder / (stem + ending)).is_file()]
    return found


def locate(name: str, models_dir: str | Path | None = None, engine: str = "auto") -> Model | None:
    """The best file of the model called `name` that `engine` can run, of the first folder that holds any, or None.

    Best is what was measured to be fastest on this kind of processor, if it beats full precision; then full precision,
    in the order of ENGINES. Files that failed a gate come last. Raises ModelError for a broken card.
    """
    usable = [path for path in variants(name, models_dir) if runners(path, engine)]
    nearest = [path for path in usable if path.parent == usable[0].parent]
    models = [Model(path, ModelCard.read(path), _folders(path, models_dir)) for path in nearest]
    return min(models, key=lambda model: _rank(model, engine), default=None)


def find_model(model: str | Path, models_dir: str | Path | None = None, engine: str = "auto") -> Model:
    """Resolve a name, a path or "auto" to a model file that `engine` runs. Raises ModelError that says where was
    looked, ConfigError for an unknown engine."""
    check_engine(engine)
    folders = search_path(models_dir)
    if isinstance(model, Path) or os.sep in model or model.endswith(SUFFIXES):
        path = Path(model)
        with refused(ModelError, f"cannot read the model {model}"):
            there = path.is_file()
        if not there:
            raise ModelError(f"no model file at {model}")
        return Model(path, ModelCard.read(path), _folders(path, models_dir))
    names = [entry.name for entry in CATALOGUE] if model == "auto" else [entry_of(model).name]
    for name in names:
        if found := locate(name, models_dir, engine):
            return found
    looked = ", ".join(map(str, folders))
    what = "no model" if model == "auto" else f"model '{model}' is not"
    kind = "" if engine == "auto" else f" for {engine} ({', '.join(ENGINES[engine].suffixes)})"
    raise ModelError(f"{what} in {looked}{kind}; to get it: {entry_of(names[0]).how_to_get}")


def _folders(path: Path, models_dir: str | Path | None) -> tuple[Path, ...]:
    return tuple(dict.fromkeys([*search_path(models_dir), path.parent]))


def _rank(model: Model, engine: str) -> tuple[float, ...]:
    """The lower the better."""
    path, card = model.path, model.card
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
