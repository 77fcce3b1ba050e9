"""Precision and success plots. Needs matplotlib (`pip install edge-tracker[eval]`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_tracker.evaluation.metrics import CENTRE_ERRORS_PX, OVERLAPS, PRECISION_AT_PX, Curves


def plot_curves(folder: Path, trackers: Mapping[str, Curves]) -> None:
    """Write `precision.png` and `success.png` into `folder`, one line per tracker, best first in the legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for kind in ("precision", "success"):
        figure = Figure(figsize=(6, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        ranked = sorted(trackers.items(), key=lambda item: -getattr(item[1], f"{kind}_score"))
        for name, curves in ranked:
            score = getattr(curves, f"{kind}_score")
            x = CENTRE_ERRORS_PX if kind == "precision" else OVERLAPS
            axes.plot(x, getattr(curves, kind), label=f"{name} [{score:.3f}]", linewidth=2)
        if kind == "precision":
            axes.axvline(PRECISION_AT_PX, color="0.6", linewidth=1, linestyle="--")
            axes.set(xlabel="centre error threshold (px)", ylabel="share of frames", title="Precision (OPE)")
        else:
            axes.set(xlabel="overlap threshold (IoU)", ylabel="share of frames", title="Success (OPE)")
        axes.set(xlim=(0, float(x[-1])), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right" if kind == "precision" else "lower left")
        figure.savefig(folder / f"{kind}.png", dpi=120)
