"""The folds table: trackers judged on scenes that nothing in their heads was trained on.

    python scripts/folds.py run --data DIR --model edge-small --head A=FILE --head B=FILE --tracker accurate --out FILE
    python scripts/folds.py run --data DIR --peers DIR --tracker "NanoTrack v3" --out FILE
    python scripts/folds.py table FILE...
    python scripts/folds.py list --data DIR

The sequences of `data/train` are parted by where they come from (FOLDS): one scene lies in one fold. The
head of a fold was trained without its sequences (scripts/train_refiner.py --without, scripts/calibrate.py) and tracks
them: every seed from the first frame, from later ones (TRE) and from a third of the perturbed first boxes (SRE), and
--clip-seeds of the hard clips of hard_clips.py.
`table` gives means and 95 % intervals by bootstrap over scenes, and with several files the paired difference to the
first.
--jobs and --cluster spread the runs; a cluster's workers need this folder on their PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import CachedTask, head_beside, with_its_head
from hard_clips import STATIC, hard_clips
from numpy.typing import NDArray
from scenes import scene_of

from edge_tracker.backbones.catalogue import find_model
from edge_tracker.boxes import iou
from edge_tracker.cli.options import add_work_options, place_of_work, positive_int
from edge_tracker.errors import DatasetError, EdgeTrackerError, UsageError
from edge_tracker.evaluation.absence_clips import absence_clips
from edge_tracker.evaluation.absence_metrics import RIGHT
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.evaluation.metrics import curves as scored
from edge_tracker.evaluation.ope import Footage, MakeTracker, TaskResult, run_task
from edge_tracker.evaluation.peers import find_peers
from edge_tracker.evaluation.robustness import spatial_variants
from edge_tracker.evaluation.truth_metrics import WRONG, Truth, truth_of
from edge_tracker.files import write_text
from edge_tracker.jobs import Executor, Here
from edge_tracker.methods import METHODS
from edge_tracker.settings import assign
from edge_tracker.track import TrackState
from edge_tracker.tracker import Tracker

# By where a name begins; the first that fits. A and B are sequences that no head before 2026-11 had seen.
FOLDS = {
    "A": ("TUD", *(f"DAVIS_{letter}" for letter in "bcd")),
    "B": ("CDnet", "DAVIS"),
    "C": ("SegTrack", "TLD", "TLP", "UAV", "CAVIAR", "vot15"),
}
STARTS = (0.0, 1 / 3, 2 / 3)  # of a sequence; a run has SHORTEST frames or more
SHORTEST = 25
PARTS = 3  # of the twelve perturbed first boxes each seed has one
ABSENCES = ("occlusion", "exit", "natural")
RESAMPLED = 2000
BINS = 20  # of confidence
STATES = list(TrackState)


def fold_of(name: str) -> str:
    """Of a sequence; where no beginning fits, by a checksum of its scene's name."""
    for fold, beginnings in FOLDS.items():
        if name.startswith(beginnings):
            return fold
    return sorted(FOLDS)[zlib.crc32(scene_of(name).encode()) % len(FOLDS)]


@dataclass(frozen=True)
class Run:
    sequence: str
    kind: str  # "ope", "tre", "sre", or a kind of clip
    seed: int
    footage: Footage


def runs_of(tasks: Sequence[Task], seeds: int, clip_seeds: int, kinds: Sequence[str]) -> Iterator[Run]:
    """What is tracked: sequences with `seeds`, clips with `clip_seeds`."""
    for task in tasks:
        shown = np.flatnonzero(task.visible > 0)
        for share in STARTS:
            start = int(shown[round(share * (len(shown) - 1))])
            kind = "ope" if start == 0 else "tre"
            if kind in kinds and (start == 0 or len(task) - start >= SHORTEST):
                part = CachedTask(f"{task.name}-from{start}", task.frames[start:], task.boxes[start:])
                for seed in range(seeds):
                    yield Run(task.name, kind, seed, part)
        if "sre" in kinds:
            others = spatial_variants(task)
            for seed in range(seeds):
                yield from (Run(task.name, "sre", seed, other) for other in others[seed % PARTS :: PARTS])
    clips = hard_clips(tasks) + [c for c in absence_clips(tasks, tasks) if c.kind in ABSENCES]
    for clip in clips:
        if clip.kind in kinds:
            for seed in range(clip_seeds):
                yield Run(clip.source.name, clip.kind, seed, clip)


def by_fold(texts: Sequence[str], others: str = "") -> dict[str, Path]:
    """Files that are given as FOLD=FILE. others: what else may stand for a fold. Raises UsageError."""
    files: dict[str, Path] = {}
    for text in texts:
        fold, given, file = text.partition("=")
        if not given or fold not in (*FOLDS, *others):
            raise UsageError(f"FOLD=FILE, with FOLD one of {', '.join([*FOLDS, *others])}, not {text!r}")
        files[fold] = Path(file)
    return files


def makers(args: argparse.Namespace, folder: Path) -> Callable[[str, int], tuple[MakeTracker, Executor]]:
    """(fold, seed) -> what makes its tracker, the fold's head being put into a folder of its own in `folder`; and what
    carries the work to it."""
    if args.peers:
        if args.cluster or args.jobs > 1:
            raise UsageError("peers are measured here, one run after the other")
        found = find_peers(args.peers)
        if args.tracker not in found:
            raise DatasetError(f"no peer {args.tracker!r} here; there are {', '.join(found)}")
        return lambda _fold, _seed: (found[args.tracker], Here())
    config = assign(METHODS[args.tracker].config, args.set)
    files = by_fold(args.head, "*")
    packaged = find_model(args.model, args.models_dir).path

    def make(fold: str, seed: int) -> tuple[MakeTracker, Executor]:
        place = folder / fold
        place.mkdir(exist_ok=True)
        own = files.get("*") or files.get(fold)
        if args.tracker == "fsnet":  # has no head
            model = own or packaged
        elif own is None:
            raise UsageError(f"fold {fold} has no --head")
        else:
            model, head = with_its_head(own, packaged)
            shutil.copy(head, place / head_beside(model).name)
        seeded = replace(config, seed=config.seed + seed)
        tracker = partial(Tracker, args.tracker, model, models_dir=place, config=seeded)
        return place_of_work(args, tracker)

    return make


def run(args: argparse.Namespace) -> None:
    # All sequences, whatever is tracked: what covers the target in a clip is cut from any of them.
    tasks = [CachedTask(t.name, t.frames, t.boxes) for t in read_tasks(args.data)]
    seeds, clip_seeds = (1, 1) if args.peers else (args.seeds, args.clip_seeds)
    runs = runs_of(tasks, seeds, clip_seeds, args.kinds.split(","))
    todo = [item for item in runs if fold_of(item.sequence) in args.fold][:: args.every]
    parts: dict[tuple[str, int], list[Run]] = {}  # what one tracker does
    for item in todo:
        parts.setdefault((fold_of(item.sequence), item.seed), []).append(item)
    rows, started = [], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="folds-") as folder:
        make = makers(args, Path(folder))
        for (fold, seed), items in parts.items():
            tracker, executor = make(fold, seed)
            for number, outcome in executor.run(partial(run_task, tracker), [item.footage for item in items]):
                if isinstance(outcome, Exception):
                    raise outcome
                rows.append(row_of(items[number], outcome))
            print(f"{len(rows)}/{len(todo)}", file=sys.stderr, flush=True)
    write_text(args.out, json.dumps({"label": args.label or args.tracker, "rows": rows}))
    print(f"{args.out}: {len(rows)} runs in {time.perf_counter() - started:.0f} s")


def list_folds(args: argparse.Namespace) -> None:
    names = [task.name for task in read_tasks(args.data)]
    for fold in FOLDS:
        print(fold, ",".join(name for name in names if fold_of(name) == fold))


def row_of(item: Run, result: TaskResult) -> dict[str, Any]:
    """The figures of a run."""
    truth: Truth = truth_of(result)
    curves = result.curves
    return {
        "sequence": item.sequence,
        "kind": item.kind,
        "seed": item.seed,
        "name": item.footage.name,
        "precision": curves.precision_score,
        "success": curves.success_score,
        "by_confidence": _by_confidence(result),
        "ideal": [_with_ideal(result, slice(0, 2)), _with_ideal(result, slice(2, 4))],
        "said": [truth.said[s] for s in STATES],
        "wrong": [truth.wrong[s] for s in STATES],
        "right": [truth.right[s] for s in STATES],
        "drift": list(truth.drift),
        "found": list(truth.found),
        "ms": 1e3 * float(np.median(result.update_s)),
    }


def _by_confidence(result: TaskResult) -> list[list[int]]:
    """Frames that are not LOST, and of them wrong ones and right ones, in BINS bins of confidence."""
    present = result.task.visible > 0
    overlap = np.where(present, np.nan_to_num(iou(result.boxes, result.task.boxes)), 0.0)
    kept = np.array([state is not TrackState.LOST for state in result.states])
    kept[0] = False
    bins = np.clip((result.confidences * BINS).astype(int), 0, BINS - 1)
    return [
        np.bincount(bins[kept & flags], minlength=BINS).tolist()
        for flags in (np.ones_like(kept), overlap < WRONG, overlap > RIGHT)
    ]


def _with_ideal(result: TaskResult, columns: slice) -> float:
    """AUC if the centres (0:2), or the sizes (2:4), were perfect."""
    boxes, truth = result.boxes.copy(), result.task.boxes
    boxes[:, :2] += boxes[:, 2:] / 2
    true = truth.copy()
    true[:, :2] += true[:, 2:] / 2
    boxes[:, columns] = true[:, columns]
    boxes[:, :2] -= boxes[:, 2:] / 2
    known = np.isfinite(truth).all(axis=1)
    return scored(boxes[known], truth[known]).success_score


GROUPS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "plain (ope, tre)": lambda r: r["kind"] in ("ope", "tre"),
    "  static": lambda r: r["kind"] in ("ope", "tre") and r["sequence"].startswith(STATIC),
    "  moving": lambda r: r["kind"] in ("ope", "tre") and not r["sequence"].startswith(STATIC),
    "other first boxes (sre)": lambda r: r["kind"] == "sre",
    "long": lambda r: r["kind"] == "long",
    "shake": lambda r: r["kind"] == "shake",
    "roll": lambda r: r["kind"] == "roll",
    "poor": lambda r: r["kind"] == "poor",
    "twin": lambda r: r["kind"] == "twin",
    "stand": lambda r: r["kind"] == "stand",
    "absences": lambda r: r["kind"] in ABSENCES,
}
COLUMNS = ("P", "AUC", "wrong", "false LOST", "found", "drift", "AUC c", "AUC s")


def figures(rows: Sequence[dict[str, Any]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The columns, each scene counted as often as `weights` say; every sequence counts the same in P, AUC, wrong."""
    total = np.zeros(len(COLUMNS))
    said, wrong, right = (np.array([r[n] for r in rows], float) for n in ("said", "wrong", "right"))
    tracked, lost = STATES.index(TrackState.TRACKED), STATES.index(TrackState.LOST)
    w = weights
    if w.sum() == 0:
        return np.full(len(COLUMNS), np.nan)
    total[0] = 100 * (w * [r["precision"] for r in rows]).sum() / w.sum()
    total[1] = 100 * (w * [r["success"] for r in rows]).sum() / w.sum()
    total[2] = 100 * (w * (wrong[:, tracked] / np.maximum(said[:, tracked], 1))).sum() / w.sum()
    total[3] = 100 * (w * right[:, lost]).sum() / max(1e-9, (w * right.sum(axis=1)).sum())
    found = np.array([[sum(r["found"]), len(r["found"])] for r in rows], float)
    total[4] = 100 * (w @ found[:, 0]) / (w @ found[:, 1]) if w @ found[:, 1] > 0 else np.nan
    drift = [d for r, k in zip(rows, w, strict=True) if k > 0 for d in r["drift"]]
    total[5] = float(np.mean(drift)) if drift else np.nan
    total[6:] = 100 * (w @ np.array([r["ideal"] for r in rows])) / w.sum()
    return total


def weights_of(rows: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Every sequence weighs the same."""
    names = [r["sequence"] for r in rows]
    count = {n: names.count(n) for n in set(names)}
    return np.array([1 / count[n] for n in names])


def interval(spread: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """2.5 and 97.5 percentiles of each column; NaN where there is nothing at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanpercentile(spread, [2.5, 97.5], axis=0)
    return low, high


def table(args: argparse.Namespace) -> None:
    loaded = [json.loads(path.read_text(encoding="utf-8")) for path in args.files]
    labels = [data["label"] for data in loaded]
    wide = max(map(len, labels)) + 2
    for group, chosen in GROUPS.items():
        parts = [
            [r for r in data["rows"] if chosen(r) and (not args.fold or fold_of(r["sequence"]) in args.fold)]
            for data in loaded
        ]
        if args.only:
            keep = set(args.only.split(","))
            parts = [[r for r in part if r["sequence"] in keep] for part in parts]
        if not all(parts):
            continue
        print(f"{group}: {len({r['sequence'] for r in parts[0]})} sequences, {len(parts[0])} runs")
        print(" " * wide + "".join(c.rjust(23) for c in COLUMNS) + "   ms")
        random = np.random.default_rng(0)
        scenes = sorted({scene_of(r["sequence"]) for r in parts[0]})
        draws = [
            np.bincount(random.integers(len(scenes), size=len(scenes)), minlength=len(scenes))
            for _ in range(args.resampled)
        ]
        base: NDArray[np.float64] | None = None
        for label, rows in zip(labels, parts, strict=True):
            own = weights_of(rows)
            index = np.array(
                [scenes.index(scene_of(r["sequence"])) if scene_of(r["sequence"]) in scenes else -1 for r in rows]
            )
            point = figures(rows, own)
            spread = np.array([figures(rows, own * draw[index]) for draw in draws])
            low, high = interval(spread)
            cells = [f"{p:.1f} [{a:.1f}, {b:.1f}]" for p, a, b in zip(point, low, high, strict=True)]
            ms = float(np.median([r["ms"] for r in rows]))
            print(label.ljust(wide) + "".join(c.rjust(23) for c in cells) + f"  {ms:.2f}")
            if base is None:
                base, first = spread, point
            else:
                low, high = interval(spread - base)
                cells = [f"{p:+.1f} [{a:+.1f}, {b:+.1f}]" for p, a, b in zip(point - first, low, high, strict=True)]
                print("  difference".ljust(wide) + "".join(c.rjust(23) for c in cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runner = commands.add_parser("run", help="track, and write the figures of every run")
    runner.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    runner.add_argument("--model", default="edge-small")
    runner.add_argument("--models-dir", type=Path)
    runner.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="FOLD=FILE",
        help="head of a fold, or model of its own with its head beside; * for all; fsnet has none",
    )
    runner.add_argument("--peers", type=Path, help="folder of peers' models; --tracker is one of theirs")
    runner.add_argument("--tracker", default="accurate")
    runner.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the configuration")
    runner.add_argument("--fold", default="".join(FOLDS), help="track these folds alone, such as AB")
    runner.add_argument("--seeds", type=int, default=3, help="of sequences, from the first frame and later ones")
    runner.add_argument("--clip-seeds", type=int, default=1, help="of clips")
    runner.add_argument("--every", type=positive_int, default=1, help="every so-many-th run alone")
    runner.add_argument("--kinds", default="ope,tre,sre,long,shake,roll,poor,twin,stand," + ",".join(ABSENCES))
    runner.add_argument("--label")
    runner.add_argument("--out", type=Path, required=True)
    add_work_options(runner)
    runner.set_defaults(act=run)
    lister = commands.add_parser("list", help="print the sequences of each fold, as --without takes them")
    lister.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    lister.set_defaults(act=list_folds)
    shower = commands.add_parser("table", help="print the table of files that `run` wrote")
    shower.add_argument("files", type=Path, nargs="+")
    shower.add_argument("--fold", default="", help="A or B alone")
    shower.add_argument("--only", help="these sequences alone")
    shower.add_argument("--resampled", type=int, default=RESAMPLED)
    shower.set_defaults(act=table)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        args.act(args)
    except (EdgeTrackerError, OSError) as error:
        print(f"folds: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
