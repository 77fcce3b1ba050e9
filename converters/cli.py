"""The command line that all converters share: write a candidate aside, measure it, and only then give it its name.

The entry scripts `to_onnx.py`, `to_tflite.py` and `to_openvino.py` call `main` with a writer of their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.crops import Crops, collect
from calibration.footage import find_footage
from converters.files import exit_code, write_together
from converters.gates import MAX_DROP, MIN_COSINE, Report, Tracking, compare, judge, markdown, write_report
from converters.plan import KEPT_IN_FLOAT, Network, Plan, Writer
from converters.rewrites import normalised
from converters.trunks import TRUNKS, load_trunk
from edge_tracker import FmstConfig, Tracker
from edge_tracker.backbones.base import PRECISIONS
from edge_tracker.backbones.cards import Measured, ModelCard, files_of, sha256_of, size_of_model
from edge_tracker.backbones.catalogue import entry_of, variants
from edge_tracker.backbones.host import cpu
from edge_tracker.errors import ModelError
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import run_tasks

PROBE_TIMEOUT_S = 600
FEWEST_CROPS = 8  # fewer show no range of activations; whether more are enough, the gates say
NOISE_CROPS = 4  # for a conversion without footage: it then has nothing to calibrate


def main(writer: Writer, argv: Sequence[str] | None = None) -> int:
    """Run a converter; returns the exit code."""
    args = parse(writer, argv)
    return exit_code(writer.program, lambda: convert(writer, args))


def parse(writer: Writer, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=writer.program, description=f"Convert a network to {writer.suffix} files.")
    parser.add_argument("--model", required=True, choices=sorted(TRUNKS), help="which network")
    parser.add_argument("--weights", type=Path, help="state dict (.pt, .pth, .safetensors), .npz or float .onnx")
    parser.add_argument("--random-weights", action="store_true", help="no weights: for tests of the tool chain only")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help=f"the {writer.suffix} file to write")
    footage = parser.add_argument_group("footage, which int8 needs")
    footage.add_argument("--frames", nargs="+", metavar="PATH", help="videos, image folders, sequences in OTB's layout")
    footage.add_argument("--crops", type=Path, metavar="FILE", help="instead: what `python -m calibration` has written")
    footage.add_argument("--seed", type=int, default=0, help="of the crops taken from --frames")
    footage.add_argument(
        "--keep-float",
        nargs="+",
        metavar="NAME",
        help=f"what int8-mixed leaves in float: stem, block1, ... (default: {' '.join(KEPT_IN_FLOAT)})",
    )
    gates = parser.add_argument_group("gates: what falls short of them is not written")
    gates.add_argument("--min-cosine", type=float, help=f"of each layer to float (default: {MIN_COSINE})")
    gates.add_argument("--data", type=Path, metavar="DIR", help="sequences in OTB's layout: measures tracking, too")
    gates.add_argument("--sequences", metavar="A,B", help="only these of --data")
    gates.add_argument("--max-drop", type=float, default=MAX_DROP, help="points of success AUC (default: %(default)s)")
    gates.add_argument("--seeds", type=int, default=3, help="runs per task of --data (default: %(default)s)")
    gates.add_argument("--jobs", type=int, default=1, help="tasks at a time")
    gates.add_argument("--force", action="store_true", help="write it all the same; its card then says so")
    gates.add_argument("--report", type=Path, metavar="FILE", help="write all figures here, as .json or .md")
    return parser.parse_args(argv)


def convert(writer: Writer, args: argparse.Namespace) -> None:
    """Convert, measure, judge, write. Raises EdgeTrackerError; then nothing but the report has been written."""
    check(writer, args)
    tasks = read_tasks(args.data, args.sequences.split(",") if args.sequences else None) if args.data else []
    network = Network(args.model, load_trunk(args.model, args.weights), TRUNKS[args.model])
    crops = take_crops(args, network.spec.input_side)
    kept = tuple(args.keep_float or KEPT_IN_FLOAT) if args.precision == "int8-mixed" else ()
    plan = Plan(args.precision, crops.calibration if crops else None, kept)
    with tempfile.TemporaryDirectory() as folder:
        candidate, reference = (Path(folder) / f"{name}{writer.suffix}" for name in ("candidate", "reference"))
        writer.write(network, plan, candidate)
        if plan.precision == "fp32":
            reference = candidate
        else:
            writer.write(network, Plan("fp32"), reference)
        report = measure(writer, network, plan, candidate, reference, held_out(crops, network.spec.input_side))
        if tasks:
            report = Report(**{**vars(report), "tracking": track(candidate, reference, writer.engine, tasks, args)})
        limit = MIN_COSINE[plan.precision] if args.min_cosine is None else args.min_cosine
        report = judge(report, limit, args.max_drop)
        if args.report:
            write_report(report, args.report)
        print(markdown(report))
        if report.failures and not args.force:
            reasons = "; ".join(reason for _, reason in report.failures)
            raise ModelError(f"{args.output} is not written: {reasons} (--force writes it and marks its card)")
        keep(candidate, network, args, report)


def check(writer: Writer, args: argparse.Namespace) -> None:
    """Refuse a command that cannot end well before anything is computed."""
    entry_of(args.model)
    if args.weights is not None and args.random_weights:
        raise ModelError("--weights and --random-weights exclude each other")
    if args.weights is None and not args.random_weights:
        args.weights = float_file(args.model)
    if (
        args.weights is not None
        and args.output.exists()
        and args.weights.exists()
        and args.output.samefile(args.weights)
    ):
        raise ModelError(f"--output would overwrite --weights {args.weights}")
    if args.output.suffix != writer.suffix:
        raise ModelError(f"--output is a {writer.suffix} file, not {args.output.name}")
    if not args.output.parent.is_dir():
        raise ModelError(f"no folder {args.output.parent} to write {args.output.name} into")
    if args.report and (args.report.suffix not in (".json", ".md") or not args.report.parent.is_dir()):
        raise ModelError(f"--report is a .json or .md file in a folder that exists, not {args.report}")
    if args.frames and args.crops:
        raise ModelError("give --frames or --crops, not both")
    if args.precision.startswith("int8") and not (args.frames or args.crops):
        raise ModelError(f"{args.precision} needs footage to calibrate with: --frames or --crops")
    if args.keep_float and args.precision != "int8-mixed":
        raise ModelError("--keep-float belongs to --precision int8-mixed")
    if args.seeds < 1 or args.jobs < 1:
        raise ModelError("--seeds and --jobs are at least 1")


def float_file(model: str) -> Path:
    """The ONNX file of `model` whose weights are float, packaged or in the user's folders. Raises ModelError."""
    for path in variants(model):
        if path.suffix == ".onnx" and not any(path.stem.endswith(f".{p}") for p in PRECISIONS if p.startswith("int8")):
            return path
    raise ModelError(f"no file of {model} with float weights is here: give --weights FILE")


def take_crops(args: argparse.Namespace, side: int) -> Crops | None:
    """The crops that were asked for, or None. Raises ModelError where they are too few: said now, not in minutes."""
    if not (args.crops or args.frames):
        return None
    if args.crops:
        crops = Crops.load(args.crops)
        if crops.side != side:
            raise ModelError(f"{args.crops} holds crops of {crops.side} px, {args.model} takes {side}")
    else:
        crops = collect(find_footage(args.frames), side=side, seed=args.seed)
    if args.precision.startswith("int8") and len(crops.calibration) < FEWEST_CROPS:
        raise ModelError(
            f"this footage gives {len(crops.calibration)} different crops to calibrate with, at least {FEWEST_CROPS} "
            "are needed: add other scenes, or a longer clip in which something moves"
        )
    return crops


def held_out(crops: Crops | None, side: int) -> NDArray[np.uint8]:
    """Crops to check with: those held out, or noise where there is no footage."""
    if crops is not None:
        return crops.unseen
    return np.random.default_rng(0).integers(0, 256, (NOISE_CROPS, side, side, 3), dtype=np.uint8)


def measure(
    writer: Writer, network: Network, plan: Plan, candidate: Path, reference: Path, unseen: NDArray[np.uint8]
) -> Report:
    """Run candidate and reference in a process of their own, and compare with torch."""
    purposes = sorted({tap.purpose for tap in network.trunk.taps})
    crops, features = candidate.with_name("crops.npy"), candidate.with_name("features.npz")
    np.save(crops, unseen)
    options = ["--candidate", candidate, "--reference", reference, "--engine", writer.engine]
    options += ["--crops", crops, "--features", features, "--purposes", *purposes]
    command = [sys.executable, "-m", "converters.run_isolated", *map(str, options)]
    try:
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"the converted file hung in {writer.engine} for {PROBE_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"the converted file does not run in a fresh process (exit {done.returncode}): {last}")
    times = json.loads(done.stdout.strip().splitlines()[-1])
    with torch.no_grad():
        parts = [network.trunk(normalised(part, network.spec)) for part in np.array_split(unseen, -(-len(unseen) // 8))]
    expected = [torch.cat(tap).permute(0, 2, 3, 1).numpy() for tap in zip(*parts, strict=True)]
    taps = network.trunk.taps
    with np.load(features, allow_pickle=False) as arrays:
        found = [arrays[tap.name] for tap in taps]
    (p50, p95), (fp32_p50, fp32_p95), (packaged_p50, _) = (times[k] for k in ("candidate", "reference", "packaged"))
    return Report(
        model=network.name,
        precision=plan.precision,
        kept_in_float=plan.kept_in_float,
        crops=len(unseen),
        fidelity=compare(taps, found, expected),
        graph=writer.inspect(candidate, plan),
        bytes=size_of_model(candidate),
        fp32_bytes=size_of_model(reference),
        measured=Measured(writer.engine, cpu()[0], p50, fp32_p50, packaged_p50),
        p95_ms=p95,
        fp32_p95_ms=fp32_p95,
    )


def track(candidate: Path, reference: Path, engine: str, tasks: list[Task], args: argparse.Namespace) -> Tracking:
    """FMST's accuracy with both files, in the same engine."""
    scores: dict[Path, list[tuple[float, float]]] = {}
    with tqdm(total=2 * args.seeds * len(tasks), unit=" tasks", disable=None) as progress:
        for path in (candidate, reference):
            scores[path] = []
            for seed in range(args.seeds):
                curves = []
                make = partial(Tracker, "fmst", path, engine=engine, config=FmstConfig(seed=seed))
                for result in run_tasks(make, tasks, args.jobs):
                    curves.append(result.curves)
                    progress.update()
                mean = mean_curves(curves)
                scores[path].append((100 * mean.precision_score, 100 * mean.success_score))
    found = {path: np.array(values) for path, values in scores.items()}
    (precision, success), (fp32_precision, fp32_success) = (found[p].mean(axis=0) for p in (candidate, reference))
    deviations = (float(found[candidate][:, 1].std()), float(found[reference][:, 1].std()))
    return Tracking(
        len(tasks),
        args.seeds,
        float(precision),
        float(success),
        float(fp32_precision),
        float(fp32_success),
        deviations,
    )


def keep(candidate: Path, network: Network, args: argparse.Namespace, report: Report) -> None:
    """Give the candidate its name and its card. Raises OutputError."""
    output: Path = args.output
    origin = f"{args.weights.name}, sha256 {sha256_of(args.weights)}" if args.weights else "random, for tests"
    write_together({output.with_suffix(file.suffix): file.read_bytes() for file in files_of(candidate)})
    entry = entry_of(args.model)
    card = ModelCard.of(
        output,
        model=entry.name,
        fingerprint=network.fingerprint,
        licence=entry.licence,
        source=entry.source,
        weights=origin,
        precision=args.precision,
        failed_gates=tuple(gate for gate, _ in report.failures),
        measured=report.measured,
    )
    card.write(output)
    print(f"\n{output}: {card.bytes} bytes, sha256 {card.sha256}")
