"""Calibrate how far FSNet believes its box: fits the weights of `fsnet.confidence.Confidence`.

    python scripts/calibrate_fsnet.py --data DIR --folds 0/2=FILE 1/2=FILE [--into FILE]

Tracks sequences, and clips with exactly known absences cut from them, and fits logistic regressions of "the target is
there and the box right" on score and colour, while following and while seeking. A classifier is surer of what it was
pre-trained on than of anything else: each of --folds is a file trained with that --hold-out, and tracks only what it
has not seen. The weights are written into --into, the file trained on all; without --folds the classifier begins at
random, and the weights are the defaults of `Confidence`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from logistic import fit_logistic
from numpy.typing import NDArray
from scenes import unseen_by
from tqdm import tqdm
from training import one_line_errors

from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import Box, as_box, iou
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.absence_clips import absence_clips
from edge_tracker.evaluation.absence_metrics import PRESENT, RIGHT, area_under_roc
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.ope import Footage
from edge_tracker.fsnet.confidence import Confidence, Weights, limited
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.networks import network_for
from edge_tracker.fsnet.pretrained import Pretrained, read_pretrained, write_pretrained
from edge_tracker.fsnet.tracker import FsnetTracker, View
from edge_tracker.images import size_of
from edge_tracker.threads import one_thread

WRONG = 0.2  # IoU under which a box is wrong; between WRONG and RIGHT it is neither
# What a clip counts grows with this power of its boxes, right ones and wrong ones each; while following, while seeking.
# A long failure is one failure, not a hundred; and of what a search looks at nearly all is wrong, which says nothing
# about one place.
CLIP_SHARES = 0.5, 0.0
# LOST is said late and nothing is looked for before, so that what an absence looks like to a tracker that still follows
# something is seen too.
PATIENT = FsnetConfig(belief=replace(FsnetConfig().belief, lost_after=12, search_after=10_000))
Row = tuple[float, float, float, float]  # score, colour, 1 if right or 0 if wrong, 1 while seeking


class Witness(FsnetTracker):
    """Notes the evidence of every box that it judges beside the truth. It believes what is not surely wrong, whatever
    the weights in use say: what is fitted does not hang on what was fitted before."""

    image: NDArray[np.uint8]
    truth: tuple[NDArray[np.float64], float]  # the target's box (4,), NaN where hidden; the share of it to be seen
    rows: list[Row]

    def _probability(self, view: View, on_crop: Box, score: float, seeking: bool = False) -> float:
        box, visible = self.truth
        found = np.array(self._on_image(on_crop, view.window, self.image))
        overlap = float(iou(found, box)) if visible > 0 else 0.0
        right = visible >= PRESENT and overlap > RIGHT
        wrong = visible == 0 or (visible >= PRESENT and overlap < WRONG)
        if right or wrong:
            colour = self._colours.likeness(view.patch, on_crop)
            self.rows.append((limited(score), colour, float(right), float(seeking)))
        return float(right or (not seeking and not wrong))


def watch(witness: Witness, footage: Footage) -> list[Row]:
    """The evidence of all boxes in one sequence or clip."""
    witness.rows = []
    for index in range(len(footage)):
        witness.image = footage.image(index)
        witness.truth = footage.boxes[index], float(footage.visible[index])
        with one_thread():
            if index:
                witness.update(witness.image)
            else:
                witness.init(witness.image, as_box(footage.init_box, size_of(witness.image)))
    return witness.rows


def fit(rows: NDArray[np.float64], clips: NDArray[np.intp], share: float) -> tuple[Weights, str]:
    """Of rows (n, 4) from clips (n,), each counting by the power `share` of its boxes: the weights, and a line of how
    well they tell right from wrong."""
    right = rows[:, 2]
    if len(set(right)) < 2:
        raise DatasetError("calibration needs frames in which the box is right, and others")
    _, inverse, counts = np.unique(2 * clips + right, return_inverse=True, return_counts=True)
    weight = np.asarray(counts[inverse] ** (share - 1.0), np.float64)
    found = fit_logistic(rows[:, :2], right, weight)
    values = rows[:, :2] @ found[:2] + found[2]
    area = area_under_roc(values[right == 1], values[right == 0])
    return Weights(*(round(float(v), 3) for v in found)), (
        f"{len(rows)} boxes, {right.mean():.0%} right: area under the ROC curve {area:.3f}"
    )


@one_line_errors("calibrate_fsnet")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="edge-small")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="sequences in OTB's layout")
    parser.add_argument("--folds", nargs="+", default=[], metavar="K/N=FILE", help="pre-trained with --hold-out K/N")
    parser.add_argument("--into", type=Path, nargs="+", default=[], metavar="FILE", help="write the weights into them")
    parser.add_argument("--every", type=int, default=1, help="take every so-many-th sequence and clip")
    args = parser.parse_args(arguments)
    side = PATIENT.input_side
    path = find_model(args.model, args.models_dir, "onnxruntime").path
    backbone = load_backbone(path, EngineOptions("onnxruntime", taps=PURPOSES, height=side, width=side))
    tasks = read_tasks(args.data)
    layers: dict[str, Pretrained | None] = dict.fromkeys(task.name for task in tasks)
    if args.folds:
        unseen = unseen_by(args.folds, list(layers))
        tasks = [task for task in tasks if task.name in unseen]
        layers = {name: read_pretrained(path, backbone.info) for name, path in unseen.items()}
    footage: list[tuple[Pretrained | None, Footage]] = [(layers[task.name], task) for task in tasks]
    footage += [(layers[clip.source.name], clip) for clip in absence_clips(tasks, tasks)]
    footage = footage[:: args.every]

    def make(pretrained: Pretrained | None) -> Witness:
        return Witness(network_for(backbone, PATIENT), PATIENT, pretrained)

    parts = [watch(make(own), clip) for own, clip in tqdm(footage, disable=None)]
    rows = np.array([row for part in parts for row in part]).reshape(-1, 4)
    clips = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    weights = []
    for seeking, what in enumerate(("following", "seeking")):
        own_rows = rows[:, 3] == seeking
        found, line = fit(rows[own_rows], clips[own_rows], CLIP_SHARES[seeking])
        weights.append(found)
        print(f"{what}: {line}")
    confidence = Confidence(*weights)
    print(confidence)
    for path in args.into:
        write_pretrained(path, replace(read_pretrained(path, backbone.info), confidence=confidence))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
