"""Regenerate Tables 1 and 2 and the ratio sweep (section 3.2.1) of the FMST paper on a folder of OTB sequences.

    python scripts/paper_tables.py --data DIR --models-dir models --seeds 5 --jobs 2 > tables.md

Progress goes to standard error, Markdown to standard output. Uses the models that are present and, of `--data`, the
tasks of OTB2013. The paper's figures are of all 51 tasks with another implementation of MobileNetV3 and of VGG16.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from common import OTB2013, fmst, models_present, over_seeds, spread
from tqdm import tqdm

from edge_tracker import Tracker
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.evaluation.otb import Task, read_tasks

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
PACKAGED_MODEL = "filterbank"
PARTS = ("tables", "defaults", "sweep")
MAPS = ("SC", "S", "C")
FRACTIONS = (0.01, 0.02, 0.0446, 0.07, 0.10, 0.15, 0.20, 0.30, 0.50)


class Runner:
    """Runs a setting over all seeds, with one progress bar for the whole script."""

    def __init__(self, args: argparse.Namespace, tasks: list[Task], settings: int) -> None:
        self.args, self.tasks = args, tasks
        self.progress = tqdm(total=settings * args.seeds * len(tasks), unit=" tasks", disable=None)

    def __call__(self, model: str, **settings: object) -> tuple[str, str]:
        def make(seed: int) -> partial[Tracker]:
            return fmst(model, self.args.models_dir, seed, **settings)

        precision, success = over_seeds(
            make, self.tasks, self.args.seeds, self.args.jobs, lambda _: self.progress.update()
        )
        return spread(precision), spread(success)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--models-dir", type=Path, help="where the converted models are")
    parser.add_argument("--models", help="only these, e.g. mobilenetv3-small,vgg16 (default: all that are present)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which tables (default: all)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    try:
        names = args.models.split(",") if args.models else MODELS
        models = models_present(names, args.models_dir)
        tasks = [task for task in read_tasks(args.data) if task.name in OTB2013]
        if not tasks or not models:
            raise EdgeTrackerError("no task of OTB2013 in --data" if not tasks else "no model is present")
        tables(models, tasks, args)
    except EdgeTrackerError as error:
        print(f"paper_tables: {error}", file=sys.stderr)
        return 2
    return 0


def tables(models: list[str], tasks: list[Task], args: argparse.Namespace) -> None:
    swept = [m for m in models if m.startswith("mobilenetv3")]
    settings = {"tables": 6 * len(models), "defaults": 4 * (len(models) + 1), "sweep": len(FRACTIONS) * len(swept)}
    run = Runner(args, tasks, sum(settings[part] for part in args.parts))
    print(f"OPE on {len(tasks)} tasks ({', '.join(t.name for t in tasks)}), {args.seeds} seeds, mean ± deviation, %.")
    if "tables" in args.parts:
        paper_tables(models, run)
    if "defaults" in args.parts:
        defaults([*models, PACKAGED_MODEL], run)
    if "sweep" in args.parts:
        sweep(swept, run)


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


if __name__ == "__main__":
    sys.exit(main())
