"""`edge-track eval`: accuracy on sequences with ground truth, and whether a lost target is known to be lost."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from edge_tracker.cli.options import add_tracker_options, add_work_options, place_of_work, tracker_factory, whole_number
from edge_tracker.errors import DatasetError, EdgeTrackerError, OutputError, SourceError
from edge_tracker.evaluation.absence_clips import absence_clips
from edge_tracker.evaluation.absence_metrics import summarise_loss
from edge_tracker.evaluation.absence_table import loss_table
from edge_tracker.evaluation.datasets import in_one_line, read_whole_tasks
from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import (
    Footage,
    TaskResult,
    run_tasks,
    summarise,
    write_frames,
    write_summary,
    write_task,
)
from edge_tracker.evaluation.plots import plot_curves, plot_loss
from edge_tracker.evaluation.robustness import summarise_robustness, variants_of
from edge_tracker.evaluation.task import Task
from edge_tracker.evaluation.truth_metrics import summarise_truth, truth_line
from edge_tracker.tracker import Tracker

PROTOCOLS = {
    "ope": "ope: one pass from the true first box",
    "sre": "sre: one pass from each of twelve perturbed first boxes",
    "tre": "tre: one pass from each of twenty frames",
    "loss": "loss: clips in which the target is absent for a while",
}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "eval", help="measure accuracy and speed on sequences with ground truth", description=__doc__
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="data set: OTB, LaSOT, GOT-10k, UAV123, VOT, MOT or DAVIS",
    )
    parser.add_argument("--sequences", metavar="A,B", help="only these sequences; Name.1 is one target of Name")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="ope", help="; ".join(PROTOCOLS.values()))
    parser.add_argument(
        "--clips-seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="random seed of the clips of --protocol loss (default: 0)",
    )
    add_work_options(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write: boxes, summary.json, plots"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress and no table")
    add_tracker_options(parser)
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("matplotlib") is None:
        raise EdgeTrackerError("plots need matplotlib: pip install 'edge-tracker[eval]'")
    cv2.setNumThreads(1)
    names = args.sequences.split(",") if args.sequences else None
    tasks, args.faults = read_whole_tasks(args.data, names)
    make_tracker = tracker_factory(args)
    first = make_tracker()  # a bad model fails here, not in every process
    label = f"{first.name} {first.backbone.info.model}"
    args.tracker = first.name  # what "auto" has chosen here, each process would choose anew
    make_tracker = tracker_factory(args)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        protocol = {"ope": _ope, "sre": _robustness, "tre": _robustness, "loss": _loss}[args.protocol]
        table = protocol(args, tasks, make_tracker, label)
    except OSError as error:
        raise OutputError(f"cannot write into {args.out}: {error.strerror or error}") from error
    if not args.quiet:
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        for row in table:
            cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            print("  ".join([row[0].ljust(widths[0]), *cells]), file=sys.stderr)
        print(truth_line(args.truth), file=sys.stderr)
    if args.faults:  # the results are written; the error names what could not be measured
        raise DatasetError(in_one_line(args.faults))
    return 0


def _tracked(
    args: argparse.Namespace,
    footage: Sequence[Footage],
    make_tracker: partial[Tracker],
    write: Callable[[TaskResult], None],
) -> list[TaskResult]:
    """Track all of the footage and write each result when it is ready; sorted by name."""
    results = []
    make, executor = place_of_work(args, make_tracker)
    done = run_tasks(make, footage, executor=executor, faults=args.faults)
    for result in tqdm(done, total=len(footage), unit=" tasks", disable=args.quiet or None):
        write(result)
        results.append(result)
    if not results:
        raise DatasetError(in_one_line(args.faults))
    args.truth = summarise_truth(results)
    return sorted(results, key=lambda result: result.task.name)


def _ope(args: argparse.Namespace, tasks: list[Task], make_tracker: partial[Tracker], label: str) -> list[list[str]]:
    results = _tracked(args, tasks, make_tracker, partial(write_task, args.out))
    summary = summarise(results)
    overall = mean_curves([r.curves for r in results])
    plot_curves(args.out, {label: overall})
    write_summary(args.out, {**summary, "truth": args.truth})
    rows = [(r.task.name, r.curves, r.fps, len(r.boxes)) for r in results]
    rows.append(("mean", overall, float(str(summary["fps"])), sum(len(r.boxes) for r in results)))
    return [["task", "precision", "success", "fps", "frames"]] + [
        [name, f"{c.precision_score:.3f}", f"{c.success_score:.3f}", f"{fps:.0f}", str(frames)]
        for name, c, fps, frames in rows
    ]


def _robustness(
    args: argparse.Namespace, tasks: list[Task], make_tracker: partial[Tracker], label: str
) -> list[list[str]]:
    variants = {}
    for task in tasks:
        try:
            variants[task.name] = variants_of(task, args.protocol)
        except SourceError as error:
            args.faults.append(f"task {task.name}: {error}")
    tasks = [task for task in tasks if task.name in variants]
    footage = tasks + [variant for each in variants.values() for variant in each]
    results = {r.task.name: r for r in _tracked(args, footage, make_tracker, partial(write_task, args.out))}
    tasks = [t for t in tasks if all(name in results for name in (t.name, *(v.name for v in variants[t.name])))]
    ope = [results[task.name] for task in tasks]
    varied = {task.name: [results[variant.name] for variant in variants[task.name]] for task in tasks}
    summary, plain, mean = summarise_robustness(args.protocol, ope, varied)
    name = args.protocol.upper()
    plot_curves(args.out, {f"{label}, OPE": plain, f"{label}, {name}": mean}, name)
    write_summary(args.out, {**summary, "truth": args.truth})
    rows = summary["tasks"]
    assert isinstance(rows, dict)
    columns = ("precision", "success", "ope_success", "ratio")
    return [["task", "runs", "precision", "success", "OPE", "ratio"]] + [
        [task, str(row["runs"]), *("-" if row[c] is None else f"{row[c]:.3f}" for c in columns)]
        for task, row in [*rows.items(), ("mean", {"runs": sum(map(len, varied.values())), **summary})]
    ]


def _loss(args: argparse.Namespace, tasks: list[Task], make_tracker: partial[Tracker], label: str) -> list[list[str]]:
    clips = absence_clips(tasks, read_whole_tasks(args.data)[0], args.clips_seed)
    results = _tracked(args, clips, make_tracker, partial(write_frames, args.out))
    summary = summarise_loss(results)
    plot_loss(args.out, {label: results})
    write_summary(args.out, {**summary, "truth": args.truth})
    kinds = summary["kinds"]
    assert isinstance(kinds, dict)
    table = loss_table([*kinds.items(), ("all", summary)])
    return [list(column) for column in zip(*table, strict=True)]  # a line per figure: the kinds fit side by side
