"""Calibrate how far FSNet believes its box: fits the weights of `fsnet.confidence.Confidence`.

    python scripts/calibrate_fsnet.py --data DIR --folds 0/2=FILE 1/2=FILE [--into FILE]

Tracks sequences, and clips with exactly known absences cut from them, and fits a logistic regression of "the target is
there and the box right" on score and colour. A classifier is surer of what it was pre-trained on than of anything else:
each of --folds is a file trained with that --hold-out, and tracks only what it has not seen. The weights are written
into --into, the file trained on all; without --folds the classifier begins at random.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from fsnet_scenes import unseen_by
from logistic import fit_logistic
from numpy.typing import NDArray
from tqdm import tqdm
from training import one_line_errors

from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import Box, as_box, iou
from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.absence_clips import absence_clips
from edge_tracker.evaluation.absence_metrics import PRESENT, RIGHT, area_under_roc
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.ope import Footage
from edge_tracker.fsnet.confidence import Confidence, limited
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.networks import network_for
from edge_tracker.fsnet.pretrained import Pretrained, read_pretrained, write_pretrained
from edge_tracker.fsnet.tracker import FsnetTracker, View
from edge_tracker.images import size_of
from edge_tracker.threads import one_thread

WRONG = 0.2  # IoU under which a box is wrong; between WRONG and RIGHT it is neither
LOOK_WHILE_LOST = 0.3  # weight of a look while LOST: there are two in a frame, most where the target never was
# LOST is said late and never ends, so that what an absence looks like to a tracker that follows something is seen too.
PATIENT = FsnetConfig(belief=BeliefSettings(lost_after=1000, found_above=1.0))


class Witness(FsnetTracker):
    """Notes the evidence of every box that it judges beside the truth."""

    image: NDArray[np.uint8]
    truth: tuple[NDArray[np.float64], float]  # the target's box (4,), NaN where hidden; the share of it to be seen
    rows: list[tuple[float, ...]]

    def _probability(self, view: View, on_crop: Box, score: float) -> float:
        box, visible = self.truth
        found = np.array(self._on_image(on_crop, view.window, self.image))
        overlap = float(iou(found, box)) if visible > 0 else 0.0
        right = visible >= PRESENT and overlap > RIGHT
        if right or visible == 0 or (visible >= PRESENT and overlap < WRONG):
            weight = LOOK_WHILE_LOST if self._redetection is not None else 1.0
            self.rows.append((limited(score), self._colours.likeness(view.patch, on_crop), float(right), weight))
        return super()._probability(view, on_crop, score)


def watch(witness: Witness, footage: Footage) -> list[tuple[float, ...]]:
    """The evidence of all boxes in one sequence or clip: score, colour, 1 if right or 0 if wrong, weight."""
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

    rows = np.array([row for own, clip in tqdm(footage, disable=None) for row in watch(make(own), clip)])
    if len(rows) == 0 or len(set(rows[:, 2])) < 2:
        raise DatasetError("calibration needs frames in which the box is right, and others")
    weights = fit_logistic(rows[:, :2], rows[:, 2], rows[:, 3])
    values = rows[:, :2] @ weights[:2] + weights[2]
    area = area_under_roc(values[rows[:, 2] == 1], values[rows[:, 2] == 0])
    print(f"{len(rows)} boxes, {rows[:, 2].mean():.0%} right: area under the ROC curve {area:.3f}")
    confidence = Confidence(*(round(float(weight), 3) for weight in weights))
    print(confidence)
    for path in args.into:
        write_pretrained(path, replace(read_pretrained(path, backbone.info), confidence=confidence))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
