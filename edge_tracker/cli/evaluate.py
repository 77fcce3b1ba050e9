"""`edge-track eval`: precision and success on sequences in OTB's layout."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from edge_tracker.cli.options import add_tracker_options, positive_int, tracker_factory
from edge_tracker.errors import EdgeTrackerError, OutputError
from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import run_tasks, summarise, write_summary, write_task
from edge_tracker.evaluation.otb import read_tasks
from edge_tracker.evaluation.plots import plot_curves


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("eval", help="measure accuracy and speed on OTB sequences", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of sequences, OTB layout")
    parser.add_argument("--sequences", metavar="A,B", help="only these; Name.1 is one target of a sequence")
    parser.add_argument("--protocol", choices=("ope",), default="ope", help="one-pass evaluation")
    parser.add_argument("--jobs", type=positive_int, default=1, metavar="N", help="tasks at a time (disturbs fps)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for boxes, summary and plots")
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")
    add_tracker_options(parser)
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("matplotlib") is None:
        raise EdgeTrackerError("plots need matplotlib: pip install 'edge-tracker[eval]'")
    cv2.setNumThreads(args.threads)
    names = args.sequences.split(",") if args.sequences else None
    tasks = read_tasks(args.data, names)
    make_tracker = tracker_factory(args)
    model = make_tracker().backbone.info.model  # a bad model should fail here, not in every process
    results = []
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for result in tqdm(
            run_tasks(make_tracker, tasks, args.jobs), total=len(tasks), unit=" tasks", disable=args.quiet or None
        ):
            write_task(args.out, result)
            results.append(result)
        results.sort(key=lambda result: result.task.name)
        summary = summarise(results)
        plot_curves(args.out, {f"{args.tracker} {model}": mean_curves([r.curves for r in results])})
        write_summary(args.out, summary)
    except OSError as error:
        raise OutputError(f"cannot write into {args.out}: {error.strerror or error}") from error
    if not args.quiet:
        print(f"{'task':24} {'precision':>9} {'success':>9} {'fps':>7} {'frames':>7}", file=sys.stderr)
        for r in results:
            c = r.curves
            print(
                f"{r.task.name:24} {c.precision_score:9.3f} {c.success_score:9.3f} {r.fps:7.0f} {len(r.boxes):7d}",
                file=sys.stderr,
            )
        print(
            f"{'mean':24} {summary['precision']:9.3f} {summary['success']:9.3f} {summary['fps']:7.0f} "
            f"{summary['frames']:7d}",
            file=sys.stderr,
        )
    return 0
