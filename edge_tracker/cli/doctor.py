"""`edge-track doctor`: what is installed here, and how fast it runs. Exit code 2 where a model is broken."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from edge_tracker import __version__
from edge_tracker.backbones.base import Backbone, EngineOptions
from edge_tracker.backbones.catalogue import CATALOGUE, locate, search_path, variants
from edge_tracker.backbones.devices import why_no_cuda
from edge_tracker.backbones.engines import engines_found, load_backbone, runners
from edge_tracker.backbones.host import cpu
from edge_tracker.backbones.timing import time_backbones
from edge_tracker.cli.host import Host
from edge_tracker.cli.options import add_models_dir, thread_count
from edge_tracker.errors import EdgeTrackerError, ModelError
from edge_tracker.methods import recall

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "ai-edge-litert",
    "tflite-runtime",
    "matplotlib",
    "onnx",
    "torch",
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="versions, engines, models, speed", description=__doc__)
    add_models_dir(parser)
    parser.add_argument("--threads", type=thread_count, default=1)
    parser.add_argument("--bench", action="store_true", help="time every model file in every engine that runs it")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    folders = search_path(args.models_dir)
    print(f"edge-tracker {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        try:
            print(f"  {package:24} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"  {package:24} not installed")
    model_name, flags = cpu()
    print(f"CPU: {model_name}\n  features: {' '.join(flags) or 'unknown'}")
    print(f"engines: {', '.join(engines_found()) or 'none'}")
    print(f"CUDA (--device cuda): {why_no_cuda() or 'usable'}")
    print("models, looked for in: " + ", ".join(map(str, folders)))
    found, broken = False, 0
    for entry in CATALOGUE:
        try:
            best = locate(entry.name, args.models_dir)
            if best is None:
                continue
            found = True
            print(f"  {entry.name}: {best.path}")
            if chosen := recall(best, EngineOptions(threads=args.threads)):
                print(f"    auto is {chosen} here, as measured before")
            beside = [p for p in variants(entry.name, args.models_dir) if p.parent == best.path.parent]
            pairs = [(p, e) for p in (beside if args.bench else [best.path]) for e in runners(p)]
            broken += print_speeds(pairs if args.bench else pairs[:1], args.threads)
        except EdgeTrackerError as error:  # what is broken is what one wants to be told of
            found = True
            broken += 1
            print(f"  {entry.name}: BROKEN: {error}")
    if not found:
        print("  none")
    for advice in Host().advice():
        print(f"wrong here: {advice.problem}\n  type: {advice.remedy}")
    return 2 if broken else 0


def print_speeds(pairs: list[tuple[Path, str]], threads: int) -> int:
    """Print the speed of every (file, engine), and its time over the first's; all are measured in turns. Returns how
    many are broken."""
    loaded: list[tuple[Path, str, Backbone]] = []
    for path, engine in pairs:
        try:
            loaded.append((path, engine, load_backbone(path, EngineOptions(engine, threads))))
        except ModelError as error:
            print(f"    {engine}: BROKEN: {error}")
    times = time_backbones([backbone for _, _, backbone in loaded])
    for (path, engine, backbone), (p50, p95) in zip(loaded, times, strict=True):
        info = backbone.info
        line = f"    {engine:11} {info.precision:10} {p50:6.2f} ms a crop of {info.width} px (p95 {p95:.2f})"
        ratio = f", {p50 / times[0][0]:.2f} x the time of {loaded[0][0].name} in {loaded[0][1]}: {path.name}"
        print(f"{line}, {threads} thread(s){ratio if len(loaded) > 1 else ''}")
    return len(pairs) - len(loaded)
