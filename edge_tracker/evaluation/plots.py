"""Plots of the protocols' curves, as PNG files. Needs matplotlib (`pip install 'edge-tracker[eval]'`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_tracker.evaluation import absence_metrics
from edge_tracker.evaluation.metrics import CENTRE_ERRORS_PX, OVERLAPS, PRECISION_AT_PX, Curves
from edge_tracker.evaluation.ope import TaskResult
from edge_tracker.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@contextmanager
def _axes(path: Path, beside: bool = False) -> Iterator[Axes]:
    """Axes to draw on; the figure is written to `path` at the end. beside: the legend stands beside the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9 if beside else 6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    yield axes
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        if beside:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        else:
            axes.legend(loc="best")
    with whole_file(path) as aside:
        figure.savefig(aside, dpi=120)


def plot_curves(folder: Path, trackers: Mapping[str, Curves], protocol: str = "OPE") -> None:
    """Write `precision.png` and `success.png` into `folder`, one line per tracker, the best first in the legend."""
    for kind in ("precision", "success"):
        with _axes(folder / f"{kind}.png") as axes:
            ranked = sorted(trackers.items(), key=lambda item: -getattr(item[1], f"{kind}_score"))
            x = CENTRE_ERRORS_PX if kind == "precision" else OVERLAPS
            for name, curves in ranked:
                score = getattr(curves, f"{kind}_score")
                axes.plot(x, getattr(curves, kind), label=f"{name} [{score:.3f}]", linewidth=2)
            if kind == "precision":
                axes.axvline(PRECISION_AT_PX, color="0.6", linewidth=1, linestyle="--")
                axes.set(
                    xlabel="centre error threshold (px)", ylabel="share of frames", title=f"Precision ({protocol})"
                )
            else:
                axes.set(xlabel="overlap threshold (IoU)", ylabel="share of frames", title=f"Success ({protocol})")
            axes.set(xlim=(0, float(x[-1])), ylim=(0, 1.02))


def plot_loss(folder: Path, trackers: Mapping[str, Sequence[TaskResult]]) -> None:
    """Write `roc.png`, `reliability.png`, `lost_after.png` and `found_after.png` into `folder`, a line per tracker."""
    with _axes(folder / "roc.png") as axes:
        for name, results in trackers.items():
            frames = absence_metrics.Frames.all_of(results)
            kept = absence_metrics.judged(frames)
            confidence, right = frames.confidence[kept], frames.right[kept]
            area = absence_metrics.area_under_roc(confidence[right], confidence[~right])
            axes.plot(
                *absence_metrics.roc(confidence[right], confidence[~right]), label=f"{name} [{area:.3f}]", linewidth=2
            )
        axes.set(
            xlabel="false positive rate",
            ylabel="true positive rate (positive: target present, box right)",
            title="Confidence: ROC",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
    with _axes(folder / "reliability.png") as axes:
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        for name, results in trackers.items():
            rows = absence_metrics.reliability(absence_metrics.Frames.all_of(results))
            error = absence_metrics.calibration_error(rows)
            said, was = ([row[what] for row in rows] for what in ("confidence", "right"))
            axes.plot(said, was, "o-", label=f"{name} [{error:.3f}]", linewidth=2)
        axes.set(
            xlabel="mean confidence in the bin",
            ylabel="share of frames with a right box",
            title="Confidence: reliability",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
    for kind, title in (("noticed", "Disappearances called LOST"), ("found", "Targets found again")):
        within = absence_metrics.NOTICED_WITHIN if kind == "noticed" else absence_metrics.FOUND_WITHIN
        with _axes(folder / f"{'lost' if kind == 'noticed' else 'found'}_after.png") as axes:
            axes.axvline(within, color="0.6", linewidth=1, linestyle="--")
            for name, results in trackers.items():
                held = [e for result in results for e in absence_metrics.episodes(result) if e.held]
                if kind == "noticed":
                    delays = np.array([e.noticed_after for e in held if e.length > within])
                else:
                    delays = np.array([e.found_after for e in held if not np.isnan(e.found_after)])
                if len(delays):
                    after = np.arange(31)
                    share = (delays[:, None] <= after).mean(axis=0)
                    axes.plot(after, share, label=name, linewidth=2, drawstyle="steps-post")
            axes.set(
                xlabel=f"frames after the target {'went' if kind == 'noticed' else 'came back'}",
                ylabel="share of absences",
                title=title,
                xlim=(0, 30),
                ylim=(0, 1.02),
            )


def plot_accuracy_and_speed(path: Path, trackers: Mapping[str, tuple[float, float]]) -> None:
    """Write a scatter plot to `path`. trackers: name -> (updates per second, success in %)."""
    with _axes(path, beside=True) as axes:
        for rank, (name, (fps, success)) in enumerate(sorted(trackers.items(), key=lambda item: -item[1][1])):
            axes.plot(fps, success, "osD^vPX"[rank % 7], markersize=8, label=name)
        axes.set(
            xscale="log",
            xlabel="updates per second on one thread",
            ylabel="success (AUC, %)",
            title="Accuracy and speed",
        )
        low, high = axes.get_xlim()
        ticks = [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000, 2000) if low <= tick <= high]
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
        axes.minorticks_off()
