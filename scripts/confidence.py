"""How far confidence and state are to be believed: `python scripts/confidence.py --data DIR --models-dir models`.

Tracks every sequence and compares each frame's confidence with what happened: "good" is an IoU above 0.5, "failed" an
IoU under 0.2 or a target that is hidden (NaN ground truth). Markdown to standard output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from common import fmst, models_present
from numpy.typing import NDArray
from tqdm import tqdm

from edge_tracker.backbones.catalogue import CATALOGUE
from edge_tracker.boxes import iou
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.evaluation.ope import run_tasks
from edge_tracker.evaluation.otb import read_tasks
from edge_tracker.fmst.appearance import LOST_BELOW, UNCERTAIN_BELOW


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--models-dir", type=Path, help="where the converted models are")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    try:
        tasks = read_tasks(args.data)
        print("| model | area under ROC, failed or good | good called LOST | good called TRACKED |", end="")
        print(" failed called LOST | failed called LOST or UNCERTAIN |\n|---|---|---|---|---|---|")
        for model in models_present((entry.name for entry in CATALOGUE), args.models_dir):
            confidences, overlaps = [], []
            for seed in range(args.seeds):
                results = run_tasks(fmst(model, args.models_dir, seed), tasks, args.jobs)
                for result in tqdm(results, total=len(tasks), desc=model, disable=None):
                    confidences.append(result.confidences[1:])
                    overlaps.append(iou(result.boxes, result.task.boxes)[1:])  # 0 with a hidden target
            print(row(model, np.concatenate(confidences), np.concatenate(overlaps)), flush=True)
    except EdgeTrackerError as error:
        print(f"confidence: {error}", file=sys.stderr)
        return 2
    return 0


def row(model: str, confidences: NDArray[np.float64], overlaps: NDArray[np.float64]) -> str:
    """One line of the table."""
    good, failed = confidences[overlaps > 0.5], confidences[overlaps < 0.2]
    shares = (good < LOST_BELOW, good >= UNCERTAIN_BELOW, failed < LOST_BELOW, failed < UNCERTAIN_BELOW)
    cells = " | ".join(f"{100 * share.mean():.1f} %" for share in shares)
    return f"| {model} | {area_under_roc(good, failed):.3f} | {cells} |"


def area_under_roc(good: NDArray[np.float64], failed: NDArray[np.float64]) -> float:
    """Probability that a good frame has a higher confidence than a failed one; ties count half."""
    ordered = np.sort(failed)
    below, up_to = np.searchsorted(ordered, good, "left"), np.searchsorted(ordered, good, "right")
    return float((below + up_to).mean() / (2 * len(failed)))


if __name__ == "__main__":
    sys.exit(main())
