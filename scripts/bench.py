"""Compare trackers side by side: accuracy, speed, and where an update of ours spends its time.

    python scripts/bench.py --data DIR --models-dir models --peers DIR [--sequences A,B] [--markdown bench.md]

All trackers take turns on each task, one thread, in one process; only `update` is timed, decoding is not. CSRT and KCF
need OpenCV's contrib build, which cannot share an environment with the plain one: run this in an environment of its own
with `opencv-contrib-python-headless` to have them in the table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from common import fmst, models_present
from tqdm import tqdm

import edge_tracker.fmst.tracker as fmst_tracker
from edge_tracker.backbones.catalogue import CATALOGUE
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.evaluation.metrics import Curves, mean_curves
from edge_tracker.evaluation.ope import MakeTracker, run_task
from edge_tracker.evaluation.otb import Task, read_tasks
from edge_tracker.evaluation.peers import find_peers
from edge_tracker.roi import crop

REFERENCE = "NanoTrack v2"  # what ratios of speed are against


class Stopwatch:
    """Seconds of every call of the functions it wraps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            start = time.perf_counter()
            result = function(*args)
            self.seconds[name].append(time.perf_counter() - start)
            return result

        return timed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--sequences", help="only these, e.g. Car4,Jogging.1")
    parser.add_argument("--models-dir", type=Path, help="where the converted models are")
    parser.add_argument("--models", help="only these (default: all present)")
    parser.add_argument("--peers", type=Path, help="folder of the peers' model files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        tasks = read_tasks(args.data, args.sequences.split(",") if args.sequences else None)
        names = args.models.split(",") if args.models else [e.name for e in CATALOGUE]
        models = models_present(names, args.models_dir)
        trackers: dict[str, MakeTracker] = {f"FMST {m}": fmst(m, args.models_dir, args.seed) for m in models}
        trackers |= find_peers(args.peers)
        text = compare(trackers, tasks) + "\n\n" + split(models, tasks, args)
    except EdgeTrackerError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    return 0


def compare(trackers: dict[str, MakeTracker], tasks: list[Task]) -> str:
    """Accuracy and speed of every tracker, as a Markdown table."""
    curves: dict[str, list[Curves]] = defaultdict(list)
    seconds: dict[str, list[np.ndarray]] = defaultdict(list)
    for task in tqdm(tasks, unit=" tasks", disable=None):
        for name, make in trackers.items():  # in turn on each task, so that the machine's moods reach all alike
            result = run_task(make, task)
            curves[name].append(result.curves)
            seconds[name].append(result.update_s)
    lines = [
        f"{len(tasks)} tasks, {sum(len(t.frames) for t in tasks)} frames, one thread, OpenCV {cv2.__version__}.\n",
        f"| tracker | precision % | success % | updates/s | ms p50 | ms p95 | speed against {REFERENCE} |",
        "|---|---|---|---|---|---|---|",
    ]
    reference = np.concatenate(seconds[REFERENCE]).sum() if REFERENCE in seconds else float("nan")
    for name in trackers:
        mean = mean_curves(curves[name])
        times = np.concatenate(seconds[name])
        p50, p95 = np.percentile(times * 1e3, [50, 95])
        lines.append(
            f"| {name} | {100 * mean.precision_score:.1f} | {100 * mean.success_score:.1f} | "
            f"{len(times) / times.sum():.0f} | {p50:.2f} | {p95:.2f} | {reference / times.sum():.2f} |"
        )
    return "\n".join(lines)


def split(models: list[str], tasks: list[Task], args: argparse.Namespace) -> str:
    """Where one update of FMST spends its time, as a Markdown table."""
    lines = ["| FMST update, ms: p50 (p95) | crop | backbone | the rest |", "|---|---|---|---|"]
    for model in models:
        watch = Stopwatch()
        with mock.patch.object(fmst_tracker, "crop", watch.wrap("crop", crop)):
            for task in tasks:
                tracker = fmst(model, args.models_dir, args.seed)()
                backbone = tracker._method.backbone
                timed = watch.wrap("backbone", backbone)
                timed.info = backbone.info  # type: ignore[attr-defined]
                tracker._method.backbone = timed  # type: ignore[assignment]
                result = run_task(lambda t=tracker: t, task)  # type: ignore[misc]
                watch.seconds["update"] += list(result.update_s)
                for part in ("crop", "backbone"):  # the first call of each task belongs to init
                    del watch.seconds[part][len(watch.seconds["update"]) - len(result.update_s)]
        parts = {name: np.array(values) * 1e3 for name, values in watch.seconds.items()}
        parts["rest"] = parts["update"] - parts["crop"] - parts["backbone"]
        cells = ["{:.2f} ({:.2f})".format(*np.percentile(parts[n], [50, 95])) for n in ("crop", "backbone", "rest")]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
