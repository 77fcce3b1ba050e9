"""Options that several commands share."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from edge_tracker.backbones.base import MOST_THREADS
from edge_tracker.backbones.engines import ENGINES
from edge_tracker.jobs import DaskCluster, Executor, Here, Processes, packed
from edge_tracker.methods import TRACKERS
from edge_tracker.service.config import TrackerConfig
from edge_tracker.settings import hints
from edge_tracker.tracker import Tracker


def whole_number(text: str, low: int = 0) -> int:
    value = int(text)
    if value < low:
        raise argparse.ArgumentTypeError(f"must be at least {low}, not {value}")
    return value


def positive_int(text: str) -> int:
    return whole_number(text, 1)


def thread_count(text: str) -> int:
    value = positive_int(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"threads is a whole number between 1 and {MOST_THREADS}, not {value}")
    return value


def add_models_dir(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="where to look for models first")


def add_tracker_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose and set up a tracker. Read them back with `chosen` or `tracker_factory`."""
    group = parser.add_argument_group("tracker")
    group.add_argument("--tracker", choices=TRACKERS, default="auto", help="method (default: %(default)s)")
    group.add_argument("--model", default="auto", help="name (edge-track models list) or path (default: %(default)s)")
    group.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="what runs the model")
    group.add_argument("--threads", type=thread_count, default=1, help="threads of the engine (default: %(default)s)")
    group.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where ONNX Runtime computes (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, help="random seed of the tracker (default: 0)")
    add_models_dir(group)
    group.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting of the tracker, may be repeated (edge-track settings lists them)",
    )
    group.add_argument("--weight-network", type=Path, metavar="FILE", help="weight network of fmst-net")


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Options that say where many tasks are done. Read them back with `place_of_work`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--jobs",
        type=positive_int,
        default=1,
        metavar="N",
        help="tasks at a time, each in a process; the measured fps then falls (default: 1)",
    )
    group.add_argument("--cluster", metavar="tcp://HOST:PORT", help="on the workers of this Dask scheduler instead")


def place_of_work(args: argparse.Namespace, make: partial[Tracker]) -> tuple[partial[Tracker], Executor]:
    """The tracker as it is made there, and what carries the work there. Raises UsageError or ModelError."""
    if args.cluster is None:
        return make, Here() if args.jobs == 1 else Processes(args.jobs)
    make, shipment = packed(make)
    return make, DaskCluster(args.cluster, shipment)


def chosen(args: argparse.Namespace) -> TrackerConfig:
    """What the user asked for by `add_tracker_options`. Raises ConfigError."""
    given = ((name, getattr(args, name)) for name in hints(TrackerConfig))
    fields: dict[str, Any] = {name: str(value) if isinstance(value, Path) else value for name, value in given}
    return TrackerConfig(**fields)


def tracker_factory(args: argparse.Namespace) -> partial[Tracker]:
    """What makes the tracker the user asked for; picklable. Raises ConfigError."""
    named = asdict(chosen(args))
    return partial(Tracker, named.pop("tracker"), named.pop("model"), **named)
