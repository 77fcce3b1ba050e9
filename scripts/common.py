"""What the scripts share: the trackers they measure, the tasks of OTB2013, means with spread over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tracker import FmstConfig, Tracker
from edge_tracker.backbones.base import Backbone, EngineOptions
from edge_tracker.backbones.catalogue import FSNET, HEAD, find_model, locate
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.errors import ConfigError, DatasetError, ModelError
from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import MakeTracker, TaskResult, run_tasks
from edge_tracker.evaluation.task import Task
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.pretrained import Pretrained, read_pretrained
from edge_tracker.methods import METHODS, TRACKERS
from edge_tracker.video.images import IMAGE_SUFFIXES, read_image

# The 51 tasks of OTB2013, "VTB13" in the FMST paper.
OTB2013 = frozenset(
    "Basketball Bolt Boy Car4 CarDark CarScale Coke Couple Crossing David David2 David3 Deer Dog1 Doll Dudek FaceOcc1 "
    "FaceOcc2 Fish FleetFace Football Football1 Freeman1 Freeman3 Freeman4 Girl Ironman Jogging.1 Jogging.2 Jumping "
    "Lemming Liquor Matrix Mhyang MotorRolling MountainBike Shaking Singer1 Singer2 Skating1 Skiing Soccer Subway "
    "Suv Sylvester Tiger1 Tiger2 Trellis Walking Walking2 Woman".split()
)


read_cached = lru_cache(maxsize=8000)(read_image)


class CachedTask(Task):
    """A task whose frames stay in memory."""

    def image(self, index: int) -> NDArray[np.uint8]:
        return read_cached(self.frames[index])


def fsnet_parts(model: str, models_dir: Path | None, config: FsnetConfig) -> tuple[Backbone, Pretrained | None]:
    """What FSNet runs on: the backbone in ONNX Runtime, and its pre-trained layers where it has some."""
    found = find_model(model, models_dir, "onnxruntime")
    side = config.input_side
    options = EngineOptions("onnxruntime", taps=METHODS["fsnet"].taps(config), height=side, width=side)
    backbone = load_backbone(found.path, options)
    if not found.files(backbone.info.model, FSNET):
        return backbone, None
    return backbone, read_pretrained(found.companion(backbone.info, FSNET), backbone.info)


def models_present(names: Iterable[str], models_dir: Path | None) -> list[str]:
    """Those of the models called `names` that have a file here."""
    return [name for name in names if locate(name, models_dir)]


def fmst(model: str, models_dir: Path | None, seed: int, **settings: Any) -> partial[Tracker]:
    """What makes an FMST tracker with these settings; picklable."""
    return partial(Tracker, "fmst", model, models_dir=models_dir, config=FmstConfig(seed=seed, **settings))


def fmst_net(
    model: str, models_dir: Path | None, seed: int, file: Path | None = None, **settings: Any
) -> partial[Tracker]:
    """The same with a weight network: the model's own, or that of `file`."""
    config = FmstConfig(seed=seed, **settings)
    return partial(Tracker, "fmst-net", model, models_dir=models_dir, config=config, weight_network=file)


def our_trackers(models: Sequence[str], models_dir: Path | None) -> dict[str, MakeTracker]:
    """Every method of ours with every model that it takes, at its defaults, by "method model"."""
    found: dict[str, MakeTracker] = {}
    for method in TRACKERS:
        for model in models:
            make = partial(Tracker, method, model, models_dir=models_dir)
            try:
                make()
            except (ConfigError, ModelError):  # not every method takes every model
                continue
            found[f"{method} {model}"] = make
    return found


def over_seeds(
    make: Callable[[int], MakeTracker],
    tasks: Sequence[Task],
    seeds: int,
    jobs: int,
    on_task: Callable[[TaskResult], object] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and success in % of each seed: (seeds,), (seeds,). `make(seed)` gives what makes the tracker."""
    scores = []
    for seed in range(seeds):
        results = []
        for result in run_tasks(make(seed), tasks, jobs):
            results.append(result.curves)
            if on_task is not None:
                on_task(result)
        mean = mean_curves(results)
        scores.append((100 * mean.precision_score, 100 * mean.success_score))
    precision, success = np.array(scores).T
    return precision, success


def pictures(folder: Path) -> list[Path]:
    """All picture files under `folder`, by name. Raises DatasetError where there is none."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not paths:
        raise DatasetError(f"no picture under {folder}")
    return paths


def spread(values: np.ndarray) -> str:
    """ "78.1 ± 0.6": mean and standard deviation over seeds."""
    return f"{values.mean():.1f} ± {values.std():.1f}"


def with_its_head(file: Path, model: Path) -> tuple[Path, Path]:
    """A model and its head, by the name of either: a head of `model`, or a model with its head beside."""
    if file.suffix == ".onnx":
        return file, head_beside(file)
    return model, file


def head_beside(model: Path) -> Path:
    """Where the head of a model file lies."""
    return model.with_name(model.name.partition(".")[0] + HEAD)
