"""Calibrate how far the closed-form tracker believes its box: fits and writes the presence weights of a head.

    python scripts/calibrate.py --model edge-small --data DIR --head FILE.npz [--unseen FILE.npz] [--judge]

Tracks clips with exactly known absences (the loss protocol's), cut from --data, and fits a logistic regression of "the
target is there and the box right" on `presence.Evidence`, once for "accurate" and once for "fast". Sequences are
halved: the figures printed are of each half judged with the weights of the other; what is written is fitted to both.
What is in FILE before does not count.

A refinement network is surer of what it was trained on than of anything else. With --unseen, what is watched is a copy
of the head whose network was trained with --hold-out, on the sequences that it has not seen.

--judge also runs the loss protocol, each half of the sequences with the weights fitted to the other (its thresholds are
the tracker's own).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from common import held_out, sequence_of
from fit_head import UNCALIBRATED
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from edge_tracker.backbones.base import PURPOSES, Backbone
from edge_tracker.backbones.catalogue import find_model, load_backbone
from edge_tracker.boxes import Box, as_box, iou
from edge_tracker.cli.options import positive_int
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head, load_head, save_head
from edge_tracker.closed_form.likeness import Evidence
from edge_tracker.closed_form.tracker import ClosedFormTracker, Look
from edge_tracker.errors import DatasetError, EdgeTrackerError
from edge_tracker.evaluation.absence_clips import Clip, absence_clips
from edge_tracker.evaluation.absence_metrics import (
    PRESENT,
    RIGHT,
    Frames,
    area_under_roc,
    calibration_error,
    loss_table,
    reliability,
    summarise_loss,
)
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.ope import TaskResult, run_tasks
from edge_tracker.images import size_of
from edge_tracker.methods import PRESETS
from edge_tracker.track import Track

WRONG = 0.2  # IoU under which a box is wrong; between WRONG and RIGHT it is neither
LOOK_WHILE_LOST = 0.3  # weight of a look while LOST: there are two in a frame, most of them where the target never was
PENALTY = 1e-3  # on the squared weights: what is fitted stays finite where the classes part cleanly
# LOST is said late, so that what an absence looks like to a tracker that still follows something is seen too, and never
# ends, so that no look-alike is found and learned: its many frames would outweigh all others.
PATIENT = partial(replace, lost_below=0.3, lost_height=0.6, found_above=1.0)

# A row is Evidence, 1 if right or 0 if wrong, weight, half of the sequences.
RIGHT_COLUMN, WEIGHT_COLUMN, HALF_COLUMN = (len(Evidence._fields) + i for i in range(3))


class Witness(ClosedFormTracker):
    """Notes the evidence of every box that it judges beside the truth."""

    truth: tuple[NDArray[np.float64], float]  # the target's box (4,), NaN where hidden; the share of it to be seen
    rows: list[tuple[float, ...]]

    def _seen(self, look: Look, box: Box, match: float) -> float:
        probability = super()._seen(look, box, match)
        true_box, visible = self.truth
        overlap = float(iou(np.array(box), true_box)) if visible > 0 else 0.0
        right = visible >= PRESENT and overlap > RIGHT
        if right or visible == 0 or (visible >= PRESENT and overlap < WRONG):
            self.rows.append((*self.evidence, float(right), LOOK_WHILE_LOST if self._search else 1.0))
        return probability


def gather(model: Path, head: Head, config: ClosedFormConfig, clips: Sequence[Clip]) -> NDArray[np.float64]:
    """The rows of all clips, (n, columns)."""
    witness = Witness(backbone_for(model, config), head, PATIENT(config))
    names = sequences(clips)
    rows = []
    for clip in tqdm(clips, unit=" clips", disable=None):
        witness.rows = []
        first = clip.image(0)
        witness.init(first, as_box(clip.init_box, size_of(first)))
        for index in range(1, len(clip)):
            witness.truth = clip.boxes[index], float(clip.visible[index])
            witness.update(clip.image(index))
        rows += [(*row, half_of(clip, names)) for row in witness.rows]
    if not rows:
        raise DatasetError("no frame to calibrate with")
    return np.array(rows)


def backbone_for(model: Path, config: ClosedFormConfig) -> Backbone:
    return load_backbone(model, purposes=PURPOSES if config.fine_weight else PURPOSES[:1], side=config.input_side)


def sequences(clips: Iterable[Clip]) -> list[str]:
    return sorted({sequence_of(clip.source.name) for clip in clips})


def half_of(clip: Clip, names: list[str]) -> int:
    return names.index(sequence_of(clip.source.name)) % 2


def fit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic regression by Newton's method: weights of the evidence, and the constant."""
    x = np.column_stack([rows[:, :RIGHT_COLUMN], np.ones(len(rows))])
    y, share = rows[:, RIGHT_COLUMN], rows[:, WEIGHT_COLUMN] / rows[:, WEIGHT_COLUMN].sum()
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (share * (p - y)) + PENALTY * weights
        curvature = (x.T * (share * p * (1 - p))) @ x + PENALTY * np.eye(len(weights))
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def fit_halves(rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Weights for each half of the sequences, fitted to the other."""
    fitted = []
    for half in (0, 1):
        others = rows[rows[:, HALF_COLUMN] != half]
        if not len(others):
            raise DatasetError("calibration needs frames of two sequences or more")
        fitted.append(fit(others))
    return fitted


def probabilities(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """That the rows are right."""
    return 1 / (1 + np.exp(-(rows[:, :RIGHT_COLUMN] @ weights[:-1] + weights[-1])))


def as_frames(rows: NDArray[np.float64], halves: Sequence[NDArray[np.float64]]) -> Frames:
    """Each half judged with its weights, as what the loss protocol's figures are made of."""
    probability = np.empty(len(rows))
    for half, weights in enumerate(halves):
        inside = rows[:, HALF_COLUMN] == half
        probability[inside] = probabilities(rows[inside], weights)
    right, none = rows[:, RIGHT_COLUMN] == 1, np.zeros(len(rows), dtype=np.bool_)
    return Frames(probability, lost=none, present=right, absent=~right, right=right, settling=none)


def report(name: str, rows: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[str, Frames]:
    """A line of figures, of looks while not LOST, each half judged with the other's weights; and those looks."""
    tracking = rows[rows[:, WEIGHT_COLUMN] == 1]
    frames = as_frames(tracking, fit_halves(rows))
    searching = as_frames(rows[rows[:, WEIGHT_COLUMN] != 1], fit_halves(rows))
    areas = [area_under_roc(f.confidence[f.right], f.confidence[~f.right]) for f in (frames, searching)]
    error = calibration_error(reliability(frames))
    fitted = ", ".join(f"{w:.2f}" for w in weights)
    text = f"{len(tracking)} frames, AUROC {areas[0]:.3f}, calibration error {error:.3f}"
    return (
        f"{name}: {text}; {len(rows) - len(tracking)} looks while LOST, AUROC {areas[1]:.3f}; weights {fitted}",
        frames,
    )


class Calibrated:
    """The closed-form tracker with these weights, for the loss protocol."""

    def __init__(self, model: Path, head: Head, config: ClosedFormConfig) -> None:
        self._tracker = ClosedFormTracker(backbone_for(model, config), head, config)

    def init(self, image: NDArray[np.uint8], box: ArrayLike) -> None:
        self._tracker.init(image, as_box(box, size_of(image)))

    def update(self, image: NDArray[np.uint8]) -> Track:
        return self._tracker.update(image)


def judge(
    model: Path, head: Head, config: ClosedFormConfig, clips: Sequence[Clip], halves: Sequence[NDArray[np.float64]]
) -> list[TaskResult]:
    """The loss protocol, each half of the sequences with its weights."""
    names = sequences(clips)
    results: list[TaskResult] = []
    for half, weights in enumerate(halves):
        fitted = replace(head, presence=np.stack([weights, weights]))
        own = [clip for clip in clips if half_of(clip, names) == half]
        make = partial(Calibrated, model, fitted, config)
        results += tqdm(run_tasks(make, own), total=len(own), unit=" clips", disable=None)
    return results


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
    parser.add_argument("--head", type=Path, required=True, help="the .npz file of scripts/fit_head.py; is rewritten")
    parser.add_argument("--unseen", type=Path, help="the head with the refinement network of --hold-out")
    parser.add_argument("--every", type=positive_int, default=1, help="every so-many-th clip (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the clips")
    parser.add_argument("--judge", action="store_true", help="run the loss protocol too, with the halves' weights")
    parser.add_argument("--plot", type=Path, help="write a reliability diagram here")
    args = parser.parse_args()
    try:
        model = find_model(args.model, args.models_dir)
        info = load_backbone(model, purposes=PURPOSES).info
        head = load_head(args.head, info)
        watched = replace(load_head(args.unseen, info) if args.unseen else head, presence=UNCALIBRATED)
        tasks = read_tasks(args.data)
        clips = absence_clips(tasks, tasks, args.seed)[:: args.every]
        kept_back = held_out(tasks)
        unseen = [clip for clip in clips if sequence_of(clip.source.name) in kept_back]
        presence, found = [], {}
        for name, config in PRESETS.items():
            own = unseen if args.unseen and config.fine_weight else clips  # without the fine tap nothing is refined
            rows = gather(model, watched, config, own)
            presence.append(fit(rows))
            text, found[name] = report(name, rows, presence[-1])
            print(text, flush=True)
            if args.judge:
                summary = summarise_loss(judge(model, watched, config, own, fit_halves(rows)))
                for cells in loss_table([(name, summary)], first="preset"):
                    print("| " + " | ".join(cells) + " |", flush=True)
        save_head(args.head, info, replace(head, presence=np.array(presence)))
        if args.plot:
            plot(args.plot, found)
    except (EdgeTrackerError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
