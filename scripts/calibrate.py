"""Calibrate how far the closed-form tracker believes its box: fits and writes the presence weights of a basis.

    python scripts/calibrate.py --model edge-small --data DIR --basis FILE.npz [--plot reliability.png]

Tracks clips with exactly known absences (the loss protocol's), cut from --data, and fits a logistic regression of "the
target is there and the box right" on the height of the response peak and the likeness to known views of the target,
once for "accurate" and once for "fast". Sequences are halved: the figures printed are of each half judged with the
weights of the other; what is written is fitted to both.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_tracker.backbones.base import PURPOSES
from edge_tracker.backbones.catalogue import find_model, load_backbone
from edge_tracker.boxes import iou
from edge_tracker.config import DcfConfig
from edge_tracker.dcf.basis import Basis, load_basis, save_basis
from edge_tracker.dcf.tracker import DcfTracker
from edge_tracker.errors import DatasetError, EdgeTrackerError
from edge_tracker.evaluation.absences import Clip, absence_clips
from edge_tracker.evaluation.loss import PRESENT, RIGHT, Frames, area_under_roc, calibration_error, reliability
from edge_tracker.evaluation.otb import read_tasks
from edge_tracker.presets import PRESETS

PENALTY = 1e-3  # on the squared weights: what is fitted stays finite where the classes part cleanly


def evidence(model: Path, basis: Basis, config: DcfConfig, clips: list[Clip]) -> NDArray[np.float64]:
    """Rows (height, likeness, 1 if right or 0 if absent, 1 if of the second half) of all frames that are either."""
    purposes = PURPOSES if config.fine_weight else PURPOSES[:1]
    backbone = load_backbone(model, purposes=purposes, side=config.input_side)
    names = sorted({clip.source.name.split(".")[0] for clip in clips})
    rows = []
    for clip in tqdm(clips, unit=" clips", disable=None):
        tracker = DcfTracker(backbone, basis, replace(config, lost_height=0.0))  # never LOST: all frames are judged
        x, y, w, h = clip.init_box.tolist()
        tracker.init(clip.image(0), (x, y, w, h))
        half = names.index(clip.source.name.split(".")[0]) % 2
        for index in range(1, len(clip)):
            tracker.update(clip.image(index))
            visible = clip.visible[index]
            right = visible >= PRESENT and iou(np.array(tracker.box), clip.boxes[index]) > RIGHT
            if right or visible == 0:
                rows.append((*tracker.evidence, float(right), half))
    if not rows:
        raise DatasetError("no frame to calibrate with")
    return np.array(rows)


def fit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic regression by Newton's method: weights of height, likeness, constant."""
    x, y = np.column_stack([rows[:, :2], np.ones(len(rows))]), rows[:, 2]
    weights = np.zeros(3)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) / len(y) + PENALTY * weights
        curvature = (x.T * (p * (1 - p))) @ x / len(y) + PENALTY * np.eye(3)
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def judged(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities that the rows are right."""
    return 1 / (1 + np.exp(-(rows[:, :2] @ weights[:2] + weights[2])))


def report(name: str, rows: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[str, NDArray[np.float64]]:
    """A line of figures, each half judged with the other's weights; and those probabilities."""
    probability = np.empty(len(rows))
    for half in (0, 1):
        inside = rows[:, 3] == half
        if inside.any() and (~inside).any():
            probability[inside] = judged(rows[inside], fit(rows[~inside]))
    frames = as_frames(probability, rows)
    auc = area_under_roc(probability[frames.right], probability[~frames.right])
    error = calibration_error(reliability(frames))
    text = ", ".join(f"{w:.2f}" for w in weights)
    return f"{name}: {len(rows)} frames, AUROC {auc:.3f}, calibration error {error:.3f}, weights {text}", probability


def as_frames(probability: NDArray[np.float64], rows: NDArray[np.float64]) -> Frames:
    """What the loss protocol's figures are made of."""
    right, none = rows[:, 2] == 1, np.zeros(len(rows), dtype=np.bool_)
    return Frames(probability, lost=none, present=right, absent=~right, right=right, settling=none)


def plot(path: Path, found: dict[str, Frames]) -> None:
    """Reliability diagram: how often a box was right, by the probability that was said."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for name, frames in found.items():
        bins = [row for row in reliability(frames) if row["frames"] >= 10]
        axes.plot([row["confidence"] for row in bins], [row["right"] for row in bins], "o-", label=name)
    axes.set(xlabel="probability said", ylabel="share of boxes right", xlim=(0, 1), ylim=(0, 1), title="Reliability")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name of the catalogue, or path of a model file")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--basis", type=Path, required=True, help="the .npz file of scripts/fit_basis.py; is rewritten")
    parser.add_argument("--every", type=int, default=1, help="use every so-many-th clip (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the clips")
    parser.add_argument("--plot", type=Path, help="write a reliability diagram here")
    args = parser.parse_args()
    try:
        model = find_model(args.model, args.models_dir)
        info = load_backbone(model, purposes=PURPOSES).info
        basis = load_basis(args.basis, info)
        tasks = read_tasks(args.data)
        clips = absence_clips(tasks, tasks, args.seed)[:: args.every]
        weights, found = {}, {}
        for name, config in PRESETS.items():
            rows = evidence(model, basis, config, clips)
            weights[name] = fit(rows)
            text, probability = report(name, rows, weights[name])
            found[name] = as_frames(probability, rows)
            print(text, flush=True)
        presence = np.array([weights["accurate"], weights["fast"]])
        projections = {tap.name: p for tap, p in zip(info.taps, basis.projections, strict=True)}
        save_basis(args.basis, info.model, projections, presence)
        if args.plot:
            plot(args.plot, found)
    except (EdgeTrackerError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
