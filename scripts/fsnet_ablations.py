"""The second paper's experiments with our FSNet: its figures 8, 9, 10 and Table I, and what it says about layers.

    python scripts/fsnet_ablations.py --data OTB [--variants "RoIPool,256 maps"] [--seeds 5] [--json FILE]

Each row: precision at 20 px and area under the success plot (OPE, mean and deviation over seeds), updates per second of
updating, the 95th percentile and the largest of their times, the time of frame 1, the share of LOST frames, and how
many iterations of fine-tuning were done and saved after frame 1. Times are the thread's on the processor: another load
counts for caches alone. --every-task --folds on training footage is what settings are chosen on.
Docs: docs/fsnet.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import OTB2013, fsnet_parts, spread
from numpy.typing import NDArray
from scenes import unseen_by
from tqdm import tqdm
from training import one_line_errors

from edge_tracker.errors import ConfigError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.metrics import Curves, curves, mean_curves
from edge_tracker.evaluation.task import Task
from edge_tracker.files import write_text
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.networks import network_for
from edge_tracker.fsnet.pretrained import read_pretrained
from edge_tracker.fsnet.tracker import FsnetTracker
from edge_tracker.methods import METHODS
from edge_tracker.settings import assign
from edge_tracker.threads import one_thread
from edge_tracker.track import TrackState

FROM_SCRATCH = "no pre-training"
VARIANTS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "RoIPool": ("maps.pooling=pool",),  # Fig. 8
    "1 point a bin": ("maps.points=1",),
    "3 points a bin": ("maps.points=3",),
    "64 maps": ("maps.count=64",),
    "256 maps": ("maps.count=256",),  # Fig. 10
    "all maps": ("maps.selection=all",),  # Fig. 9
    "128 maps at random": ("maps.selection=random",),
    "no loss threshold": ("tuning.loss_enough=none",),  # Table I
    "deep layer alone": ("maps.layers=deep",),
    "fine layer alone": ("maps.layers=fine",),
    FROM_SCRATCH: (),
}


class Run:
    """One task: its curves, the times of its frames, its fine-tunings."""

    def __init__(self, tracker: FsnetTracker, task: Task) -> None:
        boxes, seconds, lost = [task.init_box], [], 0
        with one_thread():
            for index in range(len(task)):
                image = task.image(index)
                start = time.thread_time()
                if index:
                    track = tracker.update(image)
                    boxes.append(np.array(track.box))
                    lost += track.state is TrackState.LOST
                else:
                    x, y, w, h = (float(v) for v in task.init_box)
                    tracker.init(image, (x, y, w, h))
                    first = tracker.tally
                seconds.append(time.thread_time() - start)
        self.curves: Curves = curves(np.array(boxes), task.boxes)
        self.first_s, self.update_ms = seconds[0], 1e3 * np.array(seconds[1:])
        self.lost = lost
        self.iterations = np.subtract(tracker.tally, first)[1:]  # done, saved


def run(args: argparse.Namespace, variant: str, seed: int, tasks: Sequence[Task]) -> list[Run]:
    """All tasks with one variant and seed."""
    config = replace(assign(METHODS["fsnet"].config, [*VARIANTS[variant], *args.set]), seed=seed)
    assert isinstance(config, FsnetConfig)
    backbone, packaged = fsnet_parts(args.model, args.models_dir, config)
    layers = dict.fromkeys((task.name for task in tasks), packaged)
    layers |= {name: read_pretrained(path, backbone.info) for name, path in unseen_by(args.folds, list(layers)).items()}
    if variant == FROM_SCRATCH:
        layers = dict.fromkeys(layers)
    progress = tqdm(tasks, desc=f"{variant}, seed {seed}", disable=None)
    return [Run(FsnetTracker(network_for(backbone, config), config, layers[task.name]), task) for task in progress]


def row(name: str, runs: Sequence[Sequence[Run]]) -> dict[str, object]:
    """Figures of one variant: runs by seed."""
    means = [mean_curves([r.curves for r in of_seed]) for of_seed in runs]
    every = [r for of_seed in runs for r in of_seed]
    times: NDArray[np.float64] = np.concatenate([r.update_ms for r in every])
    done, saved = np.sum([r.iterations for r in every], axis=0)
    return {
        "variant": name,
        "precision": [100 * m.precision_score for m in means],
        "success": [100 * m.success_score for m in means],
        "tasks": [[100 * r.curves.precision_score for r in of_seed] for of_seed in runs],
        "fps": 1e3 / float(times.mean()),
        "p95_ms": float(np.percentile(times, 95)),
        "largest_ms": float(times.max()),
        "first_s": float(np.mean([r.first_s for r in every])),
        "lost": sum(r.lost for r in every) / len(times),
        "iterations": int(done),
        "saved": int(saved),
    }


def line(found: dict[str, object]) -> str:
    """A row of the table."""
    p, s = (spread(np.array(found[name])) for name in ("precision", "success"))
    done, saved = int(str(found["iterations"])), int(str(found["saved"]))
    share = f"{saved / max(1, done + saved):.0%}"
    return (
        f"| {found['variant']} | {p} | {s} | {found['fps']:.0f} | {found['p95_ms']:.0f} / {found['largest_ms']:.0f} "
        f"| {found['first_s']:.2f} | {found['lost']:.1%} | {done} | {share} |"
    )


@one_line_errors("fsnet_ablations")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="OTB; of it, the tasks of OTB2013")
    parser.add_argument("--every-task", action="store_true", help="all tasks of --data instead")
    parser.add_argument("--tasks", metavar="A,B", help="these tasks alone")
    parser.add_argument("--folds", nargs="+", default=[], metavar="K/N=FILE",
                        help="pre-trained with --hold-out K/N; only what they have not seen is tracked")  # fmt: skip
    parser.add_argument("--model", default="edge-small")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--variants", help=f"some of: {', '.join(VARIANTS)} (default: all)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="in all variants")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures, after each seed")
    args = parser.parse_args(arguments)
    names = [name.strip() for name in args.variants.split(",")] if args.variants else list(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise ConfigError(f"no variant is called {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    chosen = args.tasks.split(",") if args.tasks else None
    tasks = [task for task in read_tasks(args.data, chosen) if chosen or args.every_task or task.name in OTB2013]
    if args.folds:
        unseen = unseen_by(args.folds, [task.name for task in tasks])
        tasks = [task for task in tasks if task.name in unseen]
    print(
        f"{len(tasks)} tasks\n| variant | P | AUC | fps | p95 / largest, ms | frame 1, s | LOST | iterations | saved |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    kept: list[dict[str, object]] = []
    for name in names:
        runs = []
        for seed in range(args.seeds):
            runs.append(run(args, name, args.first_seed + seed, tasks))
            found = row(name, runs)
            print(line(found), f"<!-- {len(runs)} seeds -->" if seed + 1 < args.seeds else "", flush=True)
            if args.json:
                write_text(args.json, json.dumps([*kept, found], indent=1) + "\n")
        kept.append(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
