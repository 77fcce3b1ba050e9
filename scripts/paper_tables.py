"""Regenerate Tables 1 to 3 and the ratio sweep (section 3.2.1) of the FMST paper on a folder of OTB sequences.

    python scripts/paper_tables.py --data DIR --models-dir models --seeds 5 --jobs 2 > tables.md

Progress goes to standard error, Markdown to standard output. Uses the models that are present and, of `--data`, the
tasks of OTB2013. Table 3 takes the models' own weight networks and, from `--paper-networks DIR`, those of the paper's
recipe, `<model>.safetensors` (scripts/train_weight_network.py --recipe paper). The paper's figures are of all 51 tasks
with another implementation of MobileNetV3 and of VGG16.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from common import OTB2013, fmst, fmst_net, models_present, over_seeds, spread
from numpy.typing import NDArray
from tqdm import tqdm
from training import one_line_errors

from edge_tracker import FmstConfig, Tracker
from edge_tracker.backbones.catalogue import WEIGHT_NETWORK, find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import iou
from edge_tracker.errors import EdgeTrackerError, ModelError
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.evaluation.metrics import curves, mean_curves
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.fmst.weight_files import read_weight_network
from edge_tracker.roi import window_around
from edge_tracker.video.images import read_image

# Model -> {maps: (precision, success)} in %, as printed in the paper's Tables 1 and 2.
PAPER: dict[float, dict[str, dict[str, tuple[float, float]]]] = {
    1.0: {
        "vgg16": {"SC": (81.6, 56.9), "S": (80.0, 55.2), "C": (81.8, 56.0)},
        "mobilenetv3-large": {"SC": (52.89, 36.00), "S": (63.76, 42.26), "C": (49.60, 34.49)},
        "mobilenetv3-small": {"SC": (42.38, 29.31), "S": (52.61, 36.23), "C": (37.45, 26.07)},
    },
    0.996: {
        "mobilenetv3-large": {"SC": (65.25, 46.15), "S": (72.47, 50.93), "C": (60.47, 42.87)},
        "mobilenetv3-small": {"SC": (52.65, 37.29), "S": (66.13, 46.73), "C": (45.23, 33.59)},
    },
}
MODELS = ("vgg16", "mobilenetv3-large", "mobilenetv3-large-minimalistic", "mobilenetv3-small")
PACKAGED_MODEL = "edge-small"
PARTS = ("tables", "defaults", "sweep", "oracle", "networks")
MAPS = ("SC", "S", "C")
PAPER_NETWORKS = {"mobilenetv3-large": (76.94, 53.75), "mobilenetv3-small": (69.31, 49.74)}  # Table 3
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
FRACTIONS = (0.01, 0.02, 0.0446, 0.07, 0.10, 0.15, 0.20, 0.30, 0.50)


class Runner:
    """Runs a setting over all seeds, with one progress bar for the whole script."""

    def __init__(self, args: argparse.Namespace, tasks: list[Task], settings: int) -> None:
        self.args, self.tasks = args, tasks
        self.progress = tqdm(total=settings * args.seeds * len(tasks), unit=" tasks", disable=None)

    def __call__(self, model: str, **settings: object) -> tuple[str, str]:
        return self.over_seeds(lambda seed: fmst(model, self.args.models_dir, seed, **settings))

    def with_network(self, model: str, file: Path, **settings: object) -> tuple[str, str]:
        return self.over_seeds(lambda seed: fmst_net(model, self.args.models_dir, seed, file, **settings))

    def over_seeds(self, make: Callable[[int], partial[Tracker]]) -> tuple[str, str]:
        precision, success = over_seeds(
            make, self.tasks, self.args.seeds, self.args.jobs, lambda _: self.progress.update()
        )
        return spread(precision), spread(success)


@one_line_errors("paper_tables")
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--models-dir", type=Path, help="where the converted models are")
    parser.add_argument("--models", help="only these, e.g. mobilenetv3-small,vgg16 (default: all that are present)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which tables (default: all)")
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS, help="of Table 3 (default: %(default)s)")
    parser.add_argument("--paper-networks", type=Path, metavar="DIR", help="weight networks of the paper's recipe")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    names = args.models.split(",") if args.models else MODELS
    models = models_present(names, args.models_dir)
    tasks = [task for task in read_tasks(args.data) if task.name in OTB2013]
    if not tasks or not models:
        raise EdgeTrackerError("no task of OTB2013 in --data" if not tasks else "no model is present")
    tables(models, tasks, args)
    return 0


def tables(models: list[str], tasks: list[Task], args: argparse.Namespace) -> None:
    swept = [m for m in models if m.startswith("mobilenetv3")]
    settings = {"tables": 6 * len(models), "defaults": 4 * (len(models) + 1), "sweep": len(FRACTIONS) * len(swept)}
    settings |= {"oracle": len(models), "networks": (3 + len(args.alphas)) * len(models)}
    run = Runner(args, tasks, sum(settings[part] for part in args.parts))
    print(f"OPE on {len(tasks)} tasks ({', '.join(t.name for t in tasks)}), {args.seeds} seeds, mean ± deviation, %.")
    if "tables" in args.parts:
        paper_tables(models, run)
    if "defaults" in args.parts:
        defaults([*models, PACKAGED_MODEL], run)
    if "sweep" in args.parts:
        sweep(swept, run)
    if "oracle" in args.parts:
        oracle(models, run)
    if "networks" in args.parts:
        networks(models, run)


def paper_tables(models: list[str], run: Runner) -> None:
    for number, mean_size in ((1, 1.0), (2, 0.996)):
        print(f"\n### Table {number}: mean size of candidates {mean_size:g}\n")
        print("| model | maps | precision | success | paper (51 tasks): precision | success |")
        print("|---|---|---|---|---|---|")
        for model in models:
            for maps in MAPS:
                # The paper's own recipe: the best candidate alone.
                precision, success = run(model, maps=maps, mean_size=mean_size, averaged=1)
                paper = PAPER[mean_size].get(model, {}).get(maps)
                printed = f"{paper[0]} | {paper[1]}" if paper else "- | -"
                print(f"| {model} | {maps} | {precision} | {success} | {printed} |", flush=True)


def defaults(models: list[str], run: Runner) -> None:
    print("\n### Our defaults: the mean of the best candidates\n")
    print("| model | maps | precision | success |\n|---|---|---|---|")
    for model in models:
        for maps in MAPS:
            print(f"| {model} | {maps} | " + " | ".join(run(model, maps=maps)) + " |", flush=True)
        print(f"| {model} | S, a map per layer | " + " | ".join(run(model, layers="sum")) + " |", flush=True)


def sweep(models: list[str], run: Runner) -> None:
    print("\n### Section 3.2.1: the share of channels selected, our defaults otherwise (precision / success)\n")
    print("| model | " + " | ".join(f"{100 * f:g} %" for f in FRACTIONS) + " |")
    print("|---" * (len(FRACTIONS) + 1) + "|")
    for model in models:
        cells = [" / ".join(run(model, fraction=f)) for f in FRACTIONS]
        print(f"| {model} | " + " | ".join(cells) + " |", flush=True)


class OracleRatio(FmstTracker):
    """FMST that is told, in every frame, which of FRACTIONS gives the best box: what section 3.2.1 hopes for."""

    truth: NDArray[np.float64]

    def _predict(self, groups: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        usual, before = self.config, self._generator.bit_generator.state
        window, found = window_around(self.box, usual.roi_scale), []
        for fraction in FRACTIONS:
            self.config = replace(usual, fraction=fraction)
            prediction = super()._predict(groups)
            overlap = iou(np.array(self._locate(prediction, window)), self.truth)
            self._generator.bit_generator.state = before  # the same candidates for every share
            found.append((float(overlap), -abs(fraction - usual.fraction), prediction))
        self.config = usual
        return max(found, key=lambda row: row[:2])[2]


def oracle_ratio(model: str, run: Runner) -> tuple[str, str]:
    """Precision and success of OracleRatio; a frame without truth has the usual share."""
    backbone = load_backbone(find_model(model, run.args.models_dir).path)
    scores = []
    for seed in range(run.args.seeds):
        per_task = []
        for task in run.tasks:
            tracker = OracleRatio(backbone, FmstConfig(seed=seed))
            x, y, w, h = task.boxes[0].tolist()
            tracker.init(read_image(task.frames[0]), (x, y, w, h))
            boxes = [task.boxes[0]]
            for path, tracker.truth in zip(task.frames[1:], task.boxes[1:], strict=True):
                boxes.append(np.array(tracker.update(read_image(path)).box))
            per_task.append(curves(np.array(boxes), task.boxes))
            run.progress.update()
        mean = mean_curves(per_task)
        scores.append((100 * mean.precision_score, 100 * mean.success_score))
    precision, success = np.array(scores).T
    return spread(precision), spread(success)


def oracle(models: list[str], run: Runner) -> None:
    print("\n### Section 3.2.1: the best share of channels for each frame, by the truth\n")
    print("| model | precision | success |\n|---|---|---|")
    for model in models:
        print(f"| {model} | " + " | ".join(oracle_ratio(model, run)) + " |", flush=True)


def networks(models: list[str], run: Runner) -> None:
    print("\n### Table 3: the weight-vector network\n")
    print("| model | weights | alpha | precision | success | paper (51 tasks): precision | success |")
    print("|---|---|---|---|---|---|---|")
    for model in models:
        printed = " | ".join(map(str, PAPER_NETWORKS.get(model, "--")))

        def row(weights: str, alpha: str, result: tuple[str, str], paper: str = "- | -", model: str = model) -> None:
            print(f"| {model} | {weights} | {alpha} | {' | '.join(result)} | {paper} |", flush=True)

        row("top 10 %", "-", run(model))
        theirs = (run.args.paper_networks or Path()) / f"{model}.safetensors"
        if run.args.paper_networks and theirs.is_file():
            row("network, paper's recipe", "0.5", run.with_network(model, theirs, alpha=0.5), printed)
        try:
            found = find_model(model, run.args.models_dir)
            ours = found.companion(load_backbone(found.path).info, WEIGHT_NETWORK)
        except ModelError:
            continue
        own = read_weight_network(ours)[0].alpha
        for alpha in sorted({own, *run.args.alphas}):
            label = "0, w_p alone" if alpha == 0 else f"{alpha:g}, its own" if alpha == own else f"{alpha:g}"
            row("network, our recipe", label, run.with_network(model, ours, alpha=alpha))


if __name__ == "__main__":
    sys.exit(main())
