"""What is measured before a converted file may be written, what it must reach, and the report of it.

Knows figures and limits; knows nothing of how a file is made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.plan import Graph
from edge_tracker.backbones.base import Tap
from edge_tracker.backbones.cards import Measured
from edge_tracker.files import write_text

MIN_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.90, "int8-mixed": 0.95}
MAX_DROP = 1.0  # points of success AUC


@dataclass(frozen=True)
class Fidelity:
    """How near one tapped layer is to float torch, on crops the quantiser has not seen."""

    layer: str
    cosine: float  # mean over crops, all cells and channels of the layer as one vector
    worst_cosine: float  # of one crop
    snr_db: float


@dataclass(frozen=True)
class Tracking:
    """FMST with the file and with full precision in the same engine: OPE, %, means over tasks and seeds."""

    tasks: int
    seeds: int
    precision: float
    success: float
    fp32_precision: float
    fp32_success: float
    success_deviations: tuple[float, float]  # over seeds, of the file and of full precision

    @property
    def drop(self) -> float:
        """Points of success lost."""
        return self.fp32_success - self.success


@dataclass(frozen=True)
class Report:
    """Everything known about a candidate. `failures`: gate -> why it refuses."""

    model: str
    precision: str
    kept_in_float: tuple[str, ...]
    crops: int  # held out, for the fidelity
    fidelity: tuple[Fidelity, ...]
    graph: Graph
    bytes: int
    fp32_bytes: int
    measured: Measured
    p95_ms: float
    fp32_p95_ms: float
    tracking: Tracking | None = None
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the file pays on this machine, in plain words."""
        m = self.measured
        ratio = m.p50_ms / m.fp32_p50_ms
        size = f"{self.bytes / self.fp32_bytes:.2f} x its size"
        if self.precision == "fp32":
            return "This is full precision."
        gain = "pays" if m.pays else "does not pay"
        reason = f"{ratio:.2f} x the time of full precision in {m.engine}, {size}"
        return f"{self.precision} {gain} on this machine ({m.cpu}): {reason}."


def compare(
    taps: Sequence[Tap], found: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]
) -> tuple[Fidelity, ...]:
    """Fidelity of every layer. found, expected: per tap (N, H, W, C)."""
    results = []
    for tap, ours, theirs in zip(taps, found, expected, strict=True):
        ends = np.cumsum([layer.channels for layer in tap.layers])[:-1]
        for layer, a, b in zip(tap.layers, np.split(ours, ends, axis=3), np.split(theirs, ends, axis=3), strict=True):
            x, y = (v.reshape(len(v), -1).astype(np.float64) for v in (a, b))
            norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
            cosines = np.where(norms > 0, (x * y).sum(axis=1) / np.maximum(norms, 1e-30), 0.0)
            noise, signal = float(((x - y) ** 2).sum()), float((y**2).sum())
            snr_db = 10 * np.log10(signal / noise) if noise > 0 and signal > 0 else (200.0 if signal > 0 else 0.0)
            results.append(
                Fidelity(f"{tap.name}/{layer.name}", float(cosines.mean()), float(cosines.min()), float(snr_db))
            )
    return tuple(results)


def judge(report: Report, min_cosine: float, max_drop: float = MAX_DROP) -> Report:
    """The report with the gates that refuse it."""
    failures = []
    low = [f for f in report.fidelity if not f.cosine >= min_cosine]
    if low:
        values = ", ".join(f"{f.layer} {f.cosine:.3f}" for f in low)
        failures.append(("cosine", f"cosine to float under {min_cosine:g}: {values}"))
    if report.graph.foreign:
        names = ", ".join(report.graph.foreign[:5])
        failures.append(("float islands", f"{len(report.graph.foreign)} operations are left in float, e.g. {names}"))
    if report.graph.partitions is not None and report.graph.partitions != 1:
        failures.append(("partitions", f"the delegate takes the graph in {report.graph.partitions} parts, not in one"))
    if report.tracking is not None and not report.tracking.drop <= max_drop:
        failures.append(
            ("tracking", f"success falls by {report.tracking.drop:.1f} points, more than {max_drop:g} are too many")
        )
    return replace(report, failures=tuple(failures))


def write_report(report: Report, path: Path) -> None:
    """Write the report as JSON, or as Markdown if the path ends in .md. Raises OutputError."""
    text = (
        markdown(report)
        if path.suffix == ".md"
        else json.dumps({**asdict(report), "verdict": report.verdict}, indent=2)
    )
    write_text(path, text + "\n")


def markdown(report: Report) -> str:
    """The report as Markdown."""
    m = report.measured
    kept = f" ({', '.join(report.kept_in_float)} in float)" if report.kept_in_float else ""
    lines = [f"## {report.model}, {report.precision}{kept}, {m.engine}\n", report.verdict + "\n"]
    if report.failures:
        lines += ["Refused:\n", *(f"- {gate}: {reason}" for gate, reason in report.failures), ""]
    lines += [
        f"| layer ({report.crops} held-out crops) | cosine to float | worst crop | SNR dB |",
        "|---|---|---|---|",
        *(f"| {f.layer} | {f.cosine:.4f} | {f.worst_cosine:.4f} | {f.snr_db:.1f} |" for f in report.fidelity),
        "",
        "| | this file | fp32 |",
        "|---|---|---|",
        f"| bytes | {report.bytes} | {report.fp32_bytes} |",
        f"| ms p50 (p95), one thread, one run | {m.p50_ms:.2f} ({report.p95_ms:.2f}) "
        f"| {m.fp32_p50_ms:.2f} ({report.fp32_p95_ms:.2f}) |",
    ]
    if report.tracking is not None:
        t = report.tracking
        lines += [
            f"| precision %, {t.tasks} tasks, {t.seeds} seeds | {t.precision:.1f} | {t.fp32_precision:.1f} |",
            f"| success % | {t.success:.1f} ± {t.success_deviations[0]:.1f} "
            f"| {t.fp32_success:.1f} ± {t.success_deviations[1]:.1f} |",
        ]
    operations = ", ".join(f"{count} {kind}" for kind, count in sorted(report.graph.operations.items()))
    floating = ", ".join(f"{count} {kind}" for kind, count in sorted(report.graph.floating.items())) or "none"
    lines += ["", f"Operations: {operations}. In float: {floating}."]
    if report.graph.partitions is not None:
        lines.append(f"Delegate partitions: {report.graph.partitions}.")
    return "\n".join(lines)
