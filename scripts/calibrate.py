"""Calibrate how far the closed-form tracker believes its box: fits and writes the presence weights of a head.

    python scripts/calibrate.py --model edge-small --data DIR --head FILE [--unseen A=FILE --unseen B=FILE] [--every N]

Tracks clips with exactly known absences (the loss protocol's) and hard ones (hard_clips.py), cut from --data, and fits
logistic regressions of "the target is there and the box right" on `likeness.Evidence`, while following and while
seeking, from what "accurate" and "fast" see. What is in FILE before does not count much: it only decides what is
watched.

A refinement network is surer of what it was trained on than of anything else. With --unseen, each fold of folds.py is
watched with a head that was trained without it; the weights written to that head are fitted to the other folds, those
of --head to all. The figures printed are of each fold judged with the weights of the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import CachedTask, with_its_head
from fit_head import UNCALIBRATED
from folds import FOLDS, by_fold, fold_of
from hard_clips import hard_clips
from numpy.typing import NDArray
from tqdm import tqdm
from training import sequence_of

from edge_tracker.backbones.base import PURPOSES, BackboneInfo, EngineOptions
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import Box, as_box, iou
from edge_tracker.cli.options import positive_int
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head, load_head, save_head
from edge_tracker.closed_form.likeness import Evidence, Presence
from edge_tracker.closed_form.tracker import ClosedFormTracker
from edge_tracker.closed_form.view import View
from edge_tracker.errors import DatasetError, EdgeTrackerError
from edge_tracker.evaluation.absence_clips import Clip, absence_clips
from edge_tracker.evaluation.absence_metrics import PRESENT, RIGHT, area_under_roc
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.files import whole_file
from edge_tracker.images import size_of
from edge_tracker.methods import AUTOMATIC, METHODS
from edge_tracker.settings import assign
from edge_tracker.threads import one_thread

WRONG = 0.2  # IoU under which a box is wrong; between WRONG and RIGHT it is neither
PENALTY = 1e-3  # on the squared weights: what is fitted stays finite where the classes part cleanly
CLIP_SHARE = 0.5  # a clip's weight grows with this power of its rows: a long failure is one failure, not a hundred
# LOST is said late and nothing is looked for before, so that what an absence looks like to a tracker that still follows
# something is seen too; and it never ends, so that no look-alike is found and learned: its many frames would outweigh
# all others.
PATIENT = ("belief.lost_after=12", "belief.search_after=10000", "belief.found_above=1")
# A row is Evidence, 1 if right or 0 if wrong, 1 while seeking, fold, clip, frame.
COLUMNS = len(Evidence._fields)
RIGHT_COLUMN, SEEKING, FOLD, CLIP, FRAME = (COLUMNS + i for i in range(5))
MARGIN = Evidence._fields.index("margin")  # says nothing while following (docs/closed-form.md)


class Watched(Presence):
    """Notes the evidence of every box that is judged, beside the truth."""

    notes: list[tuple[Evidence, Box]]

    def evidence(self, view: View, box: Box, height: float, match: float, likeness: float | None = None) -> Evidence:
        found = super().evidence(view, box, height, match, likeness)
        self.notes.append((found, view.on_image(box)))
        return found


class Witness(ClosedFormTracker):
    """A tracker whose judgements are noted."""

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        super().init(image, box)
        self._presence.__class__ = Watched
        self.notes: list[tuple[Evidence, Box]] = []
        vars(self._presence)["notes"] = self.notes

    @property
    def seeking(self) -> bool:
        return self._redetection is not None


def gather(witness: Witness, clips: Sequence[Clip], fold: int) -> NDArray[np.float64]:
    """The rows of all clips, (n, columns)."""
    rows = []
    for number, clip in enumerate(tqdm(clips, unit=" clips", mininterval=20)):
        first = clip.image(0)
        witness.init(first, as_box(clip.init_box, size_of(first)))
        for index in range(1, len(clip)):
            witness.notes.clear()
            seeking = witness.seeking
            witness.update(clip.image(index))
            visible = float(clip.visible[index])
            for evidence, box in witness.notes:
                overlap = float(iou(np.array(box), clip.boxes[index])) if visible > 0 else 0.0
                right = visible >= PRESENT and overlap > RIGHT
                if right or visible == 0 or (visible >= PRESENT and overlap < WRONG):
                    rows.append((*evidence, float(right), float(seeking), fold, number, index))
    return np.array(rows).reshape(-1, FRAME + 1)


def shares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of each row: sums to 1."""
    key = rows[:, FOLD] * 1e6 + rows[:, CLIP] * 2 + rows[:, RIGHT_COLUMN]
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    weight = counts[inverse] ** (CLIP_SHARE - 1.0)
    return np.asarray(weight / weight.sum())


def fit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic regression by Newton's method: weights of the evidence, and the constant."""
    if len(np.unique(rows[:, RIGHT_COLUMN])) < 2:
        raise DatasetError("calibration needs right and wrong boxes")
    x = np.column_stack([rows[:, :COLUMNS], np.ones(len(rows))])
    y, share = rows[:, RIGHT_COLUMN], shares(rows)
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (share * (p - y)) + PENALTY * weights
        curvature = (x.T * (share * p * (1 - p))) @ x + PENALTY * np.eye(len(weights))
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def fit_both(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """While following, and while seeking: (2, WEIGHTS)."""
    rows = rows.copy()
    rows[rows[:, SEEKING] == 0, MARGIN] = 0
    return np.stack([fit(rows[rows[:, SEEKING] == seeking]) for seeking in (0, 1)])


def report(name: str, rows: NDArray[np.float64], weights: NDArray[np.float64]) -> str:
    """A line of figures on rows that the weights were not fitted to."""
    texts = []
    for seeking, what in enumerate(("following", "seeking")):
        own = rows[rows[:, SEEKING] == seeking]
        score = own[:, :COLUMNS] @ weights[seeking, :-1] + weights[seeking, -1]
        right = own[:, RIGHT_COLUMN] == 1
        p = 1 / (1 + np.exp(-score))
        bins = np.digitize(p, np.linspace(0.1, 0.9, 9))
        error = sum(abs(p[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
        alone = [area_under_roc(own[right, i], own[~right, i]) for i in range(COLUMNS)]
        each = ", ".join(f"{field} {max(a, 1 - a):.3f}" for field, a in zip(Evidence._fields, alone, strict=True))
        texts.append(
            f"{what} {len(own)} looks ({right.mean():.2f} right), "
            f"AUROC {area_under_roc(score[right], score[~right]):.3f}"
            f" (alone: {each}), calibration error {error:.3f}"
        )
    return f"{name}: " + "; ".join(texts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name of the catalogue, or path of a model file")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--head", type=Path, required=True, help="the file of scripts/fit_head.py; is rewritten")
    parser.add_argument(
        "--unseen",
        action="append",
        default=[],
        metavar="FOLD=FILE",
        help="heads trained without a fold, or models with theirs beside",
    )
    parser.add_argument("--every", type=positive_int, default=1, help="every so-many-th clip (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the clips")
    parser.add_argument("--rows", type=Path, help="keep the rows here (.npz), or take them from here")
    args = parser.parse_args()
    if len(args.unseen) == 1:
        parser.error("--unseen is of two folds or more: the weights of each are fitted to the others")
    try:
        model = find_model(args.model, args.models_dir).path
        info = load_backbone(model, EngineOptions(taps=PURPOSES)).info
        unseen = by_fold(args.unseen)
        head = load_head(args.head, info)
        own = Eye(model, info, args.head, head)
        eyes = {fold: Eye.of(unseen[fold], model) if fold in unseen else own for fold in (unseen or FOLDS)}
        rows = watch(args, eyes)
        for number, (fold, eye) in enumerate(eyes.items()):
            weights = fit_both(rows[rows[:, FOLD] != number])
            print(report(f"fold {fold}", rows[rows[:, FOLD] == number], weights), flush=True)
            if fold in unseen:
                save_head(eye.file, eye.info, replace(eye.head, presence=weights))
        weights = fit_both(rows)
        print(weights.round(2).tolist())
        save_head(args.head, info, replace(head, presence=weights))
    except (EdgeTrackerError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


class Eye(NamedTuple):
    """What watches a fold."""

    model: Path
    info: BackboneInfo
    file: Path  # of the head
    head: Head

    @classmethod
    def of(cls, file: Path, model: Path) -> Eye:
        """file: see `with_its_head`. Raises EdgeTrackerError."""
        own, path = with_its_head(file, model)
        info = load_backbone(own, EngineOptions(taps=PURPOSES)).info
        return cls(own, info, path, load_head(path, info))


def watch(args: argparse.Namespace, eyes: Mapping[str, Eye]) -> NDArray[np.float64]:
    """The rows of both trackers; eyes: fold -> what watches it."""
    if args.rows and args.rows.is_file():
        with np.load(args.rows) as kept:
            return np.asarray(kept["rows"])
    tasks = [CachedTask(t.name, t.frames, t.boxes) for t in read_tasks(args.data)]
    clips = absence_clips(tasks, tasks, args.seed) + [c for c in hard_clips(tasks, args.seed) if c.kind != "long"]
    parts: list[NDArray[np.float64]] = []
    for name in AUTOMATIC:
        config: ClosedFormConfig = assign(METHODS[name].config, PATIENT)
        side = config.input_side
        for number, (fold, eye) in enumerate(eyes.items()):
            backbone = load_backbone(eye.model, EngineOptions(taps=PURPOSES, height=side, width=side))
            own = [c for c in clips if fold_of(sequence_of(c.source.name)) == fold][:: args.every]
            watched = replace(eye.head, presence=UNCALIBRATED)
            with one_thread():
                parts.append(gather(Witness(backbone, watched, config), own, number))
            parts[-1][:, CLIP] += len(clips) * AUTOMATIC.index(name)
    rows = np.concatenate(parts)
    if args.rows:
        with whole_file(args.rows) as partial, partial.open("wb") as file:
            np.savez_compressed(file, rows=rows)
    return rows


if __name__ == "__main__":
    sys.exit(main())
