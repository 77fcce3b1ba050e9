"""Compare trackers side by side: accuracy, speed, memory, and whether they know when the target is gone.

    python scripts/bench.py --data OTB_DIR --loss-data DIR --models-dir models --peers DIR --out bench

Each part can be run alone and again (`--parts`). The tables are written anew each time, from all that --out holds:
    accuracy  one pass over the tasks of --data; kept by tracker and task, so an interrupted run resumes
    speed     all trackers on the same frames, alternating every few frames, so that a change of the machine's load
              affects all alike; one thread, without decoding, in processor time, which other work on the machine
              disturbs least; with --split also where an update of FMST spends its time
    loss      the absence protocol on clips cut from --loss-data (docs/evaluation.md); kept like accuracy
    memory    the peak of resident memory that a tracker adds to a fresh process (Linux)
What is kept in --out is used again: give another folder when a tracker has changed. CSRT and KCF need OpenCV's contrib
build, which cannot share an environment with the build without contrib. To have them in the table, run this in an
environment of its own with `opencv-contrib-python-headless`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from common import fmst, models_present, our_trackers
from tqdm import tqdm
from training import one_line_errors

import edge_tracker.fmst.tracker as fmst_tracker
from edge_tracker.backbones.catalogue import CATALOGUE
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.evaluation.absence_clips import absence_clips
from edge_tracker.evaluation.absence_metrics import lost_by_score, summarise_loss
from edge_tracker.evaluation.absence_table import FALSE_LOST, LOST_WITHIN, REFOUND_WITHIN, loss_table
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import Footage, MakeTracker, TaskResult, read_frames, run_tasks, write_frames
from edge_tracker.evaluation.peers import SCORED, find_peers
from edge_tracker.evaluation.plots import plot_accuracy_and_speed
from edge_tracker.files import write_text
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.roi import crop

PARTS = ("accuracy", "speed", "loss", "memory")
REFERENCES = ("NanoTrack v2", "NanoTrack v3")  # what ratios of speed are against
MILLISECONDS = ("p50_ms", "p95_ms", "mean_ms")
TURN = 10  # frames a tracker has before the next one's turn
MEMORY_FRAMES = 60


@one_line_errors("bench")
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--sequences", help="only these of --data, e.g. Car4,Jogging.1")
    parser.add_argument("--loss-data", type=Path, help="folder of sequences to cut the loss protocol's clips from")
    parser.add_argument("--models-dir", type=Path, help="where the converted models are")
    parser.add_argument("--models", help="only these (default: all present)")
    parser.add_argument("--peers", type=Path, help="folder of the peers' model files")
    parser.add_argument("--trackers", help="only those whose name contains one of these, e.g. fmst,NanoTrack")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--split", action="store_true", help="with the part speed: where FMST spends its time")
    parser.add_argument("--speed-frames", type=int, default=60, help="of each task, to time (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="tasks at a time, in accuracy and loss")
    parser.add_argument("--out", type=Path, required=True, help="folder for results, bench.md and bench.png")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # read by the processes of the parts
    log: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2  # OpenCV 5 moved it
    log.setLogLevel(2)  # errors: its trackers warn on every start
    bench(args)
    return 0


def bench(args: argparse.Namespace) -> None:
    if "loss" in args.parts and args.loss_data is None:
        raise EdgeTrackerError("the part loss needs --loss-data")
    tasks = read_tasks(args.data, args.sequences.split(",") if args.sequences else None)
    names = args.models.split(",") if args.models else [entry.name for entry in CATALOGUE]
    models = models_present(names, args.models_dir)
    trackers = our_trackers(models, args.models_dir) | find_peers(args.peers)
    if args.trackers:
        parts = args.trackers.lower().split(",")
        trackers = {name: make for name, make in trackers.items() if any(part in name.lower() for part in parts)}
    if not trackers:
        raise EdgeTrackerError("no tracker to compare")
    args.out.mkdir(parents=True, exist_ok=True)
    if "accuracy" in args.parts:
        track_missing(args, "accuracy", trackers, tasks)
    if "speed" in args.parts:
        merge(args.out / "speed.json", time_in_turns(trackers, tasks, args.speed_frames))
        if args.split:
            write_text(args.out / "split.md", split(models, tasks, args) + "\n")
    clips: list[Footage] = []
    if args.loss_data is not None:
        footage = read_tasks(args.loss_data)
        clips += absence_clips(footage, footage)
    if "loss" in args.parts:
        track_missing(args, "loss", trackers, clips)
    if "memory" in args.parts:
        merge(args.out / "memory.json", {name: {"added_mb": memory(make, tasks[0])} for name, make in trackers.items()})
    text = report(args.out, list(trackers), tasks, clips)
    write_text(args.out / "bench.md", text)
    print(text)


def folder_of(out: Path, part: str, tracker: str) -> Path:
    return out / part / tracker.replace(" ", "-").lower()


def track_missing(
    args: argparse.Namespace, part: str, trackers: dict[str, MakeTracker], footage: Sequence[Footage]
) -> None:
    """Track what --out does not hold yet."""
    for name, make in trackers.items():
        folder = folder_of(args.out, part, name)
        folder.mkdir(parents=True, exist_ok=True)
        missing = [task for task in footage if read_frames(folder, task) is None]
        done = run_tasks(make, missing, args.jobs)
        for result in tqdm(done, desc=f"{part}: {name}", total=len(missing), unit=" tasks", disable=None):
            write_frames(folder, result)


def kept(out: Path, part: str, tracker: str, footage: Sequence[Footage]) -> list[TaskResult]:
    """Results of all of the footage, none if some are missing."""
    results = [read_frames(folder_of(out, part, tracker), task) for task in footage]
    found = [result for result in results if result is not None]
    return found if len(found) == len(footage) else []


def merge(path: Path, new: dict[str, Any]) -> None:
    """Add to what a JSON file holds."""
    write_text(path, json.dumps(load(path) | new, indent=2) + "\n")


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def time_in_turns(trackers: dict[str, MakeTracker], tasks: list[Task], frames: int) -> dict[str, dict[str, Any]]:
    """Speed of every tracker on the first `frames` frames of each task, in processor time."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for task in tqdm(tasks, desc="speed", unit=" tasks", disable=None):
        images = [task.image(k) for k in range(min(len(task), frames))]
        running = {name: make() for name, make in trackers.items()}
        for tracker in running.values():
            tracker.init(images[0], task.boxes[0])
        for first in range(1, len(images), TURN):
            for name, tracker in running.items():
                for image in images[first : first + TURN]:
                    start = time.process_time()
                    tracker.update(image)
                    seconds[name].append(time.process_time() - start)
    figures: dict[str, dict[str, Any]] = {}
    for name, values in seconds.items():
        times = np.array(values) * 1e3
        p50, p95 = np.percentile(times, [50, 95])
        figures[name] = {"updates": len(values), "fps": 1e3 / p50, "p50_ms": p50, "p95_ms": p95}
        figures[name]["mean_ms"] = float(times.mean())
    for name in figures:  # ratios within this run alone: the machine's load differs between runs
        figures[name]["against"] = {
            other: figures[other]["p50_ms"] / figures[name]["p50_ms"] for other in REFERENCES if other in figures
        }
    return figures


def memory(make: MakeTracker, task: Task) -> float | None:
    """Peak of resident memory, MB, that making and running a tracker adds to a fresh process; None where unknown."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_added_mb, pickle.dumps(make), task).result()


def _added_mb(pickled: bytes, task: Task) -> float | None:
    images = [task.image(k) for k in range(min(len(task), MEMORY_FRAMES))]  # OpenCV and pictures are there before
    before = _peak_mb()
    tracker = pickle.loads(pickled)()  # our own bytes; an engine is first imported here
    tracker.init(images[0], task.boxes[0])
    for image in images[1:]:
        tracker.update(image)
    after = _peak_mb()
    return None if before is None or after is None else after - before


def _peak_mb() -> float | None:
    """VmHWM of this process: unlike ru_maxrss it does not begin with the parent's peak."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


def report(out: Path, trackers: list[str], tasks: list[Task], clips: list[Footage]) -> str:
    """The tables of what `out` holds, as Markdown; writes the scatter beside them."""
    speed, memories = load(out / "speed.json"), load(out / "memory.json")
    losses: list[tuple[str, dict[str, Any]]] = []
    rows = []
    points: dict[str, tuple[float, float]] = {}
    for name in trackers:
        results = kept(out, "accuracy", name, tasks)
        mean = mean_curves([result.curves for result in results]) if results else None
        judged = judge(out, name, clips)
        losses += judged
        timed, figures = speed.get(name), judged[-1][1] if judged else None
        ratios = [timed["against"].get(other) if timed else None for other in REFERENCES]
        added = memories.get(name, {}).get("added_mb")
        rows.append(
            [
                name,
                *((f"{100 * mean.precision_score:.1f}", f"{100 * mean.success_score:.1f}") if mean else "--"),
                *((f"{timed['fps']:.0f}", *(f"{timed.get(k, np.nan):.2f}" for k in MILLISECONDS)) if timed else "----"),
                *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
                "-" if added is None else f"{added:.0f}",
                *(short(figures) if figures else "---"),
            ]
        )
        if not any(kind is not None for kind in (mean, timed, figures, added)):
            rows.pop()  # nothing of it has been run
        if mean and timed:
            points[name] = (timed["fps"], 100 * mean.success_score)
    header = ["tracker", "precision %", "success %", "updates per second", "ms per update, median", "95th percentile"]
    header += ["mean"]
    header += [f"speed ({other} = 1)" for other in REFERENCES]
    header += ["memory added MB", FALSE_LOST, LOST_WITHIN, REFOUND_WITHIN]
    frames = sum(len(task) for task in tasks)
    text = f"{len(tasks)} tasks, {frames} frames, one thread, OpenCV {cv2.__version__}.\n\n" + markdown([header, *rows])
    if losses:
        count = f"{len(clips)} clips, {sum(len(clip) for clip in clips)} frames."
        text += f"\n{count}\n\n" + markdown(loss_table(losses, "tracker: what counts as LOST"))
    if (out / "split.md").is_file():
        text += "\n" + (out / "split.md").read_text(encoding="utf-8")
    if points:
        plot_accuracy_and_speed(out / "bench.png", points)
    return text


def judge(out: Path, tracker: str, clips: list[Footage]) -> list[tuple[str, dict[str, Any]]]:
    """Loss figures of a tracker by its own verdict, then, if it is a peer with a score, by a threshold on that."""
    results = kept(out, "loss", tracker, clips) if clips else []
    if not results:
        return []
    own = "state" if tracker.split()[0].islower() else "not found"  # methods of ours are in lower case
    judged = [(f"{tracker}: {own}", summarise_loss(results))]
    if tracker in SCORED:
        limited, (one, two) = lost_by_score(results)
        low, high = sorted((one, two))
        judged.append((f"{tracker}: score below {low:.2f} to {high:.2f}", summarise_loss(limited)))
    return judged


def short(figures: dict[str, Any]) -> list[str]:
    shares = figures["false_lost"], figures["lost_after"]["within_10"], figures["found_after"]["within_15"]
    return ["-" if share is None else f"{100 * share:.1f}" for share in shares]


def markdown(table: list[list[str]]) -> str:
    header, *rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


class Stopwatch:
    """Seconds of processor time of every call of the functions it wraps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            start = time.process_time()
            result = function(*args)
            self.seconds[name].append(time.process_time() - start)
            return result

        return timed


def split(models: list[str], tasks: list[Task], args: argparse.Namespace) -> str:
    """Where one update of FMST spends its time, as a Markdown table."""
    lines = [["FMST, ms per update: median (95th percentile)", "crop", "backbone", "the rest"]]
    for model in models:
        watch = Stopwatch()
        with mock.patch.object(fmst_tracker, "crop", watch.wrap("crop", crop)):
            for task in tasks:
                tracker = fmst(model, args.models_dir, 0)()
                method = tracker._method
                assert isinstance(method, FmstTracker)
                backbone = method.backbone
                timed = watch.wrap("backbone", backbone)
                timed.info = backbone.info  # type: ignore[attr-defined]
                method.backbone = timed  # type: ignore[assignment]
                tracker.init(task.image(0), task.boxes[0])
                for part in ("crop", "backbone"):
                    watch.seconds[part].pop()  # init is no update
                for index in range(1, min(len(task), args.speed_frames)):
                    watch.wrap("update", tracker.update)(task.image(index))
        parts = {name: np.array(values) * 1e3 for name, values in watch.seconds.items()}
        parts["rest"] = parts["update"] - parts["crop"] - parts["backbone"]
        lines.append(
            [
                model,
                *("{:.2f} ({:.2f})".format(*np.percentile(parts[n], [50, 95])) for n in ("crop", "backbone", "rest")),
            ]
        )
    return markdown(lines)


if __name__ == "__main__":
    sys.exit(main())
