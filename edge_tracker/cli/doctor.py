"""`edge-track doctor`: what is installed here, and how fast it runs."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_tracker import __version__
from edge_tracker.backbones.catalogue import CATALOGUE, engines_found, load_backbone, locate, search_path
from edge_tracker.cli.options import add_models_dir, positive_int
from edge_tracker.errors import ModelError

PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "matplotlib", "onnx", "torch")
CPU_FLAGS = ("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm", "bf16")
TIMED_FRAMES = 50


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="versions, engines, models, speed", description=__doc__)
    add_models_dir(parser)
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    print(f"edge-tracker {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        try:
            print(f"  {package:24} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"  {package:24} not installed")
    model_name, flags = cpu()
    print(f"CPU: {model_name}\n  features: {' '.join(flags) or 'unknown'}")
    print(f"engines: {', '.join(engines_found()) or 'none'}")
    print("models, looked for in: " + ", ".join(map(str, search_path(args.models_dir))))
    found = False
    for entry in CATALOGUE:
        path = locate(entry.name, args.models_dir)
        if path is None:
            continue
        found = True
        print(f"  {entry.name}: {path}")
        for engine in engines_found():
            try:
                p50, p95 = time_backbone(path, engine, args.threads)
                print(f"    {engine}: {p50:.2f} ms a crop (p95 {p95:.2f}), {args.threads} thread(s)")
            except ModelError as error:
                print(f"    {engine}: {error}")
    if not found:
        print("  none")
    return 0


def cpu() -> tuple[str, list[str]]:
    """Name of the processor, and those of its features that matter to the engines; Linux only, else less."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    name = fields.get("model name") or fields.get("Model") or platform.machine()
    return name, [flag for flag in CPU_FLAGS if flag in present]


def time_backbone(path: Path, engine: str, threads: int) -> tuple[float, float]:
    """Median and 95th percentile of the milliseconds of one crop, over TIMED_FRAMES after a warm-up."""
    backbone = load_backbone(path, engine, threads)
    side = backbone.info.input_side
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    times_ms = []
    for _ in range(TIMED_FRAMES + 5):
        start = time.perf_counter()
        backbone(crop)
        times_ms.append((time.perf_counter() - start) * 1e3)
    p50, p95 = np.percentile(times_ms[5:], [50, 95])
    return float(p50), float(p95)
