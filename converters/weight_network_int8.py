"""A weight network in integers: `--model weight-network --precision int8` of to_tflite.py and to_openvino.py.

The graph is that of converters/weight_network.py, without the sorting and scaling before it. It is calibrated with the
scores that tracking brings about, and judged by the weights it gives on other sequences and by what it does to
tracking. The package itself runs these networks in NumPy; the files are for targets where all is integers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters.files import exit_code, write_together
from converters.gates import MAX_DROP, MIN_COSINE
from converters.weight_network import MODEL, graph_inputs
from edge_tracker import FmstConfig, Tracker
from edge_tracker.backbones.cards import files_of, size_of_model
from edge_tracker.backbones.companion import Owner
from edge_tracker.errors import ModelError
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import run_task
from edge_tracker.files import write_text
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.fmst.weight_files import read_weight_network
from edge_tracker.fmst.weight_network import WeightNetwork

Weights = tuple[NDArray[np.float32], NDArray[np.float32]]
MOST_INPUTS = 400
HELD_OUT = 4  # of so many sequences one is kept from calibration


class NetworkWriter(Protocol):
    """One target."""

    program: str
    engine: str
    suffix: str

    def write(self, network: WeightNetwork, owner: Owner, inputs: NDArray[np.float32], path: Path) -> None:
        """Write `network`, trained on the backbone `owner`, in int8, calibrated with inputs (N, ...)."""
        ...

    def open(self, path: Path) -> Callable[[NDArray[np.float32]], Weights]:
        """What runs a file: graph inputs -> w_p (C,), w_n (C,)."""
        ...


@dataclass(frozen=True)
class Report:
    """What became of a network. Cosines are of held-out frames; tracking is OPE with fmst-net, %, means over seeds."""

    engine: str
    backbone: str
    frames: int
    positive_cosine: float
    negative_cosine: float
    bytes: int
    fp32_bytes: int  # of the parameters
    p50_us: float
    numpy_p50_us: float
    tasks: int = 0
    success: float | None = None
    fp32_success: float | None = None
    precision: float | None = None
    fp32_precision: float | None = None


class StandIn:
    """Takes a weight network's place in a tracker, and keeps what it is given."""

    def __init__(self, network: WeightNetwork, run: Callable[[NDArray[np.float32]], Weights] | None = None) -> None:
        self.network, self.run = network, run
        self.alpha = network.alpha
        self.seen: list[NDArray[np.float32]] = []

    def __call__(self, scores: NDArray[np.float32], first: NDArray[np.float32]) -> Weights:
        values = graph_inputs(self.network, scores, first)
        self.seen.append(values)
        return self.network(scores, first) if self.run is None else self.run(values)


def main(writer: NetworkWriter, argv: Sequence[str] | None = None) -> int:
    """Convert; returns the exit code."""
    parser = argparse.ArgumentParser(prog=writer.program, description="Convert a weight network to integers.")
    parser.add_argument("--model", required=True, choices=[MODEL])
    parser.add_argument("--weights", type=Path, required=True, help="the .safetensors file")
    parser.add_argument("--precision", required=True, choices=["int8"])
    parser.add_argument("--backbone", type=Path, required=True, help="the model file it was trained on")
    parser.add_argument("--frames", type=Path, required=True, metavar="DIR", help="sequences in OTB's layout")
    parser.add_argument("--data", type=Path, metavar="DIR", help="others, on which tracking is measured, too")
    parser.add_argument("--sequences", metavar="A,B", help="only these of --data")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--min-cosine", type=float, default=MIN_COSINE["int8"])
    parser.add_argument("--max-drop", type=float, default=MAX_DROP)
    parser.add_argument("--output", type=Path, required=True, help=f"the {writer.suffix} file to write")
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    args = parser.parse_args(argv)
    return exit_code(writer.program, lambda: convert(writer, args))


def convert(writer: NetworkWriter, args: argparse.Namespace) -> None:
    """Calibrate, convert, measure, judge, write. Raises EdgeTrackerError; then nothing but the report is written."""
    if args.output.suffix != writer.suffix or not args.output.parent.is_dir():
        raise ModelError(f"--output is a {writer.suffix} file in a folder that exists, not {args.output}")
    network, owner = read_weight_network(args.weights)
    tasks = read_tasks(args.data, args.sequences.split(",") if args.sequences else None) if args.data else []
    learned, unseen = collect(network, args, read_tasks(args.frames))
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / f"candidate{writer.suffix}"
        writer.write(network, owner, learned, candidate)
        run = writer.open(candidate)
        report = measure(writer, network, owner.model, run, unseen, candidate)
        if tasks:
            report = Report(**{**asdict(report), **track(network, run, tasks, args)})
        text = json.dumps(asdict(report), indent=2)
        print(text)
        if args.report:
            write_text(args.report, text + "\n")
        judge(report, args)
        write_together({args.output.with_suffix(file.suffix): file.read_bytes() for file in files_of(candidate)})


def judge(report: Report, args: argparse.Namespace) -> None:
    """Raise ModelError where the file falls short."""
    cosine = min(report.positive_cosine, report.negative_cosine)
    if not cosine >= args.min_cosine:
        raise ModelError(f"{args.output} is not written: cosine of the weights {cosine:.3f}, under {args.min_cosine:g}")
    if report.success is not None and report.fp32_success is not None:
        drop = report.fp32_success - report.success
        if not drop <= args.max_drop:
            raise ModelError(f"{args.output} is not written: success falls by {drop:.1f} points")


def tracker_with(network: StandIn, args: argparse.Namespace, seed: int = 0) -> Tracker:
    """fmst-net with a stand-in for its network."""
    tracker = Tracker(
        "fmst-net", args.backbone, config=FmstConfig(seed=seed), weight_network=args.weights, models_dir=None
    )
    assert isinstance(tracker._method, FmstTracker)
    tracker._method.network = network  # type: ignore[assignment]
    return tracker


def collect(
    network: WeightNetwork, args: argparse.Namespace, tasks: list[Task]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inputs of the network while it tracks: for calibration and held out, (N, ...) each. Raises DatasetError."""
    parts: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    for number, task in enumerate(tasks):
        stand_in = StandIn(network)
        run_task(lambda s=stand_in: tracker_with(s, args), task)  # type: ignore[misc]
        parts[number % HELD_OUT == 1].extend(stand_in.seen)
    if not all(parts):
        raise ModelError(f"{args.frames} holds too few sequences: some must be held out")
    learned, unseen = (np.stack(part[:: max(1, len(part) // MOST_INPUTS)][:MOST_INPUTS]) for part in parts)
    return learned, unseen


def measure(
    writer: NetworkWriter,
    network: WeightNetwork,
    backbone: str,
    run: Callable[[NDArray[np.float32]], Weights],
    unseen: NDArray[np.float32],
    path: Path,
) -> Report:
    """Compare with NumPy on frames not calibrated with."""
    cosines: list[list[float]] = [[], []]
    for values in unseen:
        for place, (found, expected) in enumerate(zip(run(values), forward(network, values), strict=True)):
            norm = float(np.linalg.norm(found) * np.linalg.norm(expected))
            same = not found.any() and not expected.any()  # no negative weights at all is a match, too
            cosines[place].append(1.0 if same else float(found @ expected) / norm if norm > 0 else 0.0)
    return Report(
        engine=writer.engine,
        backbone=backbone,
        frames=len(unseen),
        positive_cosine=float(np.mean(cosines[0])),
        negative_cosine=float(np.mean(cosines[1])),
        bytes=size_of_model(path),
        fp32_bytes=sum(tensor.nbytes for tensor in network.tensors.values()),
        p50_us=median_us(lambda: run(unseen[0])),
        numpy_p50_us=median_us(lambda: forward(network, unseen[0])),
    )


def forward(network: WeightNetwork, values: NDArray[np.float32]) -> Weights:
    """What the network makes of graph inputs, in NumPy."""
    if network.form == "dense":
        positive, negative = network._forward("positive", values[0]), network._forward("negative", -values[0])
        selected = values[1]
    else:
        positive, negative = network._forward("shared", np.ascontiguousarray(values.T))
        selected = values[:, 1]
    if network.base == "top":
        positive = positive + selected
    return np.clip(positive, 0, 6), np.clip(negative, 0, 6)


def median_us(call: Callable[[], object], times: int = 200) -> float:
    """Median of the microseconds a call takes."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e6)
    return float(np.median(taken))


def track(
    network: WeightNetwork, run: Callable[[NDArray[np.float32]], Weights], tasks: list[Task], args: argparse.Namespace
) -> dict[str, float]:
    """fmst-net's accuracy with the integers and with NumPy."""
    scores: dict[str, list[tuple[float, float]]] = {"": [], "fp32_": []}
    for kind, runner in (("", run), ("fp32_", None)):
        for seed in range(args.seeds):
            results = [
                run_task(lambda s=seed, r=runner: tracker_with(StandIn(network, r), args, s), task).curves  # type: ignore[misc]
                for task in tasks
            ]
            mean = mean_curves(results)
            scores[kind].append((100 * mean.precision_score, 100 * mean.success_score))
    found: dict[str, float] = {"tasks": len(tasks)}
    for kind, values in scores.items():
        precision, success = np.mean(values, axis=0)
        found |= {f"{kind}precision": float(precision), f"{kind}success": float(success)}
    return found
