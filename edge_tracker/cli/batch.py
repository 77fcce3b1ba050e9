"""`edge-track batch`: every clip of a list, on this machine's cores or on a cluster; resumed where it stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from edge_tracker.backbones.cards import sha256_of
from edge_tracker.cli.options import add_tracker_options, add_work_options, place_of_work, tracker_factory
from edge_tracker.errors import UsageError
from edge_tracker.methods import AUTOMATIC
from edge_tracker.service.batch import FORMATS, Summary, check_jobs, read_jobs, run_batch


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("batch", help="track every clip of a list", description=__doc__)
    parser.add_argument(
        "list",
        type=Path,
        metavar="JOBS.csv|toml",
        help="source, init, and if wanted name, tracker, seed, settings, ...",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of results; the same command again resumes there"
    )
    parser.add_argument("--format", choices=FORMATS, default="csv", help="of the tracks (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    add_work_options(parser)
    add_tracker_options(parser)
    parser.set_defaults(run=run_command, tracker=AUTOMATIC[0])


def run_command(args: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    jobs = read_jobs(args.list)
    if args.tracker == "auto" or any(job.tracker == "auto" for job in jobs):
        raise UsageError(f"auto depends on the machine, and a batch may run on several: {' or '.join(AUTOMATIC)}")
    make = tracker_factory(args)
    files = check_jobs(jobs, make)  # what is wrong should be said now, not by every job
    setup = repr((args.tracker, args.engine, args.seed, args.settings, sha256_of(*files)))
    make, executor = place_of_work(args, make)
    summary = Summary(len(jobs))
    with tqdm(total=len(jobs), unit=" clips", disable=args.quiet or None) as progress:
        for summary in run_batch(jobs, make, args.out, executor, args.format, setup):
            progress.update(summary.done_before + len(summary.done) + len(summary.failed) - progress.n)
            progress.set_postfix_str(f"{len(summary.failed)} failed" if summary.failed else "", refresh=False)
    lines = [] if args.quiet else [summary_line(summary, args.out)]
    lines += [f"edge-track: {name}: {reason}" for name, reason in sorted(summary.failed.items())]
    if lines:
        print("\n".join(lines), file=sys.stderr)
    return 2 if summary.failed else 0


def summary_line(summary: Summary, folder: Path) -> str:
    """What a run came to."""
    frames = sum(done.frames for done in summary.done)
    return (
        f"{summary.jobs} clips: {len(summary.done)} done ({frames} frames), {summary.done_before} done before, "
        f"{len(summary.failed)} failed; tracks are in {folder / 'tracks'}"
    )
