"""`edge-track bench`: how fast trackers are on this machine, in every engine, from every file of a model.

Needs no video: it tracks a clip that it renders. Prints one table; --json keeps it, to be posted (docs/devices.md).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edge_tracker import __version__
from edge_tracker.backbones.cards import files_of, sha256_of
from edge_tracker.backbones.catalogue import find_model, variants
from edge_tracker.backbones.engines import ENGINES, runners
from edge_tracker.backbones.host import cpu
from edge_tracker.cli.host import Host
from edge_tracker.cli.options import add_models_dir, positive_int
from edge_tracker.errors import ConfigError, ModelError
from edge_tracker.evaluation.speed import Setup, Speed, measure_speeds
from edge_tracker.files import write_text
from edge_tracker.methods import AUTOMATIC, METHODS
from edge_tracker.video.synthetic import ROUND, SyntheticClip

FORMAT = 1  # of the JSON


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("bench", help="speed of trackers on this machine", description=__doc__)
    parser.add_argument("--models", default="edge-small", metavar="A,B", help="names or paths (default: %(default)s)")
    parser.add_argument("--trackers", default=",".join(AUTOMATIC), metavar="A,B", help="(default: %(default)s)")
    parser.add_argument("--engines", metavar="A,B", help="only these (default: all that are installed)")
    parser.add_argument("--threads", default="1", metavar="N,M", help="of the engine (default: %(default)s)")
    parser.add_argument("--sides", metavar="PX,PX", help="of the crop (default: the tracker's own)")
    parser.add_argument("--frames", type=frames, default=ROUND, metavar="N", help="of the clip (default: %(default)s)")
    parser.add_argument("--rounds", type=positive_int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it here")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_models_dir(parser)
    parser.set_defaults(run=run_command)


def frames(text: str) -> int:
    if (value := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, not {value}")
    return value


def run_command(args: argparse.Namespace) -> int:
    setups = setups_of(args)
    clip = SyntheticClip(frames=args.frames)
    host = Host()
    before = host.state()
    with tqdm(total=len(setups) * args.rounds, unit=" runs", disable=args.quiet or None) as progress:
        speeds = measure_speeds(setups, clip, args.rounds, args.models_dir, progress.update)
    record = {
        **machine(host),
        "clip": {"frames": clip.frames, "width": clip.width, "height": clip.height, "rounds": args.rounds},
        "before": before,
        "after": host.state(),
        "rows": [row(speed) for speed in speeds],
    }
    if args.json:
        write_text(args.json, json.dumps(record, indent=2) + "\n")
    print(markdown(record))
    return 0


def setups_of(args: argparse.Namespace) -> list[Setup]:
    """Every combination asked for that can be had here. Raises ConfigError or ModelError."""
    trackers = args.trackers.split(",")
    if unknown := sorted(set(trackers) - set(METHODS)):
        raise ConfigError(f"no tracker {', '.join(unknown)}; there are {', '.join(METHODS)}")
    engines = (
        args.engines.split(",") if args.engines else [name for name, engine in ENGINES.items() if engine.installed]
    )
    threads = whole_numbers(args.threads, "--threads")
    sides: list[int | None] = list(whole_numbers(args.sides, "--sides")) if args.sides else [None]
    pairs = []
    for model in args.models.split(","):
        best = find_model(model, args.models_dir).path
        paths = (
            [best] if Path(model) == best else [p for p in variants(model, args.models_dir) if p.parent == best.parent]
        )
        pairs += [(path, engine) for path in paths for engine in engines if engine in runners(path)]
    if not pairs:
        raise ModelError(f"none of {', '.join(engines)} runs a file of {args.models}")
    return [
        Setup(tracker, path, engine, count, side)
        for path, engine in pairs
        for count in threads
        for side in sides
        for tracker in trackers
    ]


def whole_numbers(text: str, option: str) -> list[int]:
    """Raises ConfigError."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"{option} takes whole numbers of at least 1, separated by commas, not {text!r}")
    return [int(part) for part in parts]


def machine(host: Host) -> dict[str, Any]:
    """What the figures hold for."""
    name, features = cpu()
    packages = [
        "numpy",
        "opencv-python-headless",
        *(p.replace("_", "-") for engine in ENGINES.values() for p in engine.packages),
    ]
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "format": FORMAT,
        "edge_tracker": __version__,
        "board": host.model or None,
        "cpu": name,
        "features": features,
        "architecture": platform.machine(),
        "memory_mb": host.memory_mb,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": found,
        "advice": [advice.problem for advice in host.advice()],
    }


def row(speed: Speed) -> dict[str, Any]:
    setup = speed.setup
    return {
        "tracker": setup.tracker,
        "model": speed.model,
        "file": setup.path.name,
        "sha256": sha256_of(*files_of(setup.path)),
        "engine": setup.engine,
        "precision": speed.precision,
        "threads": setup.threads,
        "side": speed.side,
        "p50_ms": round(speed.p50_ms, 3),
        "p95_ms": round(speed.p95_ms, 3),
        "fps": round(speed.fps, 1),
        "backbone_p50_ms": round(speed.backbone_p50_ms, 3),
        "mean_iou": round(speed.mean_iou, 3),
    }


COLUMNS = {
    "tracker": "tracker",
    "model": "model",
    "engine": "engine",
    "precision": "precision",
    "threads": "threads",
    "side": "crop px",
    "p50_ms": "ms p50",
    "p95_ms": "ms p95",
    "fps": "updates/s",
    "backbone_p50_ms": "network alone, ms",
    "mean_iou": "IoU",
}


def markdown(record: dict[str, Any]) -> str:
    """The record as a Markdown table under a line about the machine."""
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    lines = [
        f"{record['board'] or record['cpu']} ({record['architecture']}), {record['system']}, "
        f"Python {record['python']}, edge-tracker {record['edge_tracker']}; {packages}",
        "",
        "| " + " | ".join(COLUMNS.values()) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(str(row[key]) for key in COLUMNS) + " |" for row in record["rows"]),
        "",
    ]
    for when in ("before", "after"):
        state = record[when]
        parts = [
            "no thermometer" if state["temperature_c"] is None else f"{state['temperature_c']:.0f} degrees C",
            *([f"{state['frequency_mhz']} MHz"] if state["frequency_mhz"] else []),
            *([f"load {state['load']}"] if state["load"] is not None else []),
            *([f"governor {state['governor']}"] if state["governor"] else []),
            f"throttled: {', '.join(state['throttled_now']) or 'no'}",
        ]
        lines.append(f"{when}: {', '.join(parts)}")
    return "\n".join(lines + [f"note: {problem}" for problem in record["advice"]])
