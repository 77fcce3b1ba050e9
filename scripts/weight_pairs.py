"""What a weight network learns from: scores at one time, features and truth at a later one, cached on disk.

Two kinds of pairs. "consecutive", the paper's: scores of the true box in frame k, features of frame k + 1 around it.
"rollout": what the tracker itself meets. FMST with the rule of Eq. 5 tracks each sequence, its box pushed about now and
then and put back once it is lost; scores are the averages it had gathered, right and wrong ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tqdm import tqdm

from edge_tracker.backbones.base import Backbone
from edge_tracker.boxes import Box, iou
from edge_tracker.errors import DatasetError, first_line
from edge_tracker.evaluation.task import Task
from edge_tracker.files import write_bytes
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.roi import window_around
from edge_tracker.video.images import read_image

KINDS = ("consecutive", "rollout")
PUSHED = 0.15  # share of frames
PUSH_XY, PUSH_SIZE = 0.12, 0.2  # deviations, of the longer side and of log size
LOST_BELOW, USED_ABOVE = 0.15, 0.1  # IoU
SMALLEST_SIDE_PX = 1.0


@dataclass(frozen=True)
class Pairs:
    """n pairs of one backbone; boxes are in cells of its grid over the ROI."""

    features: NDArray[np.float16]  # (n, H, W, C)
    previous: NDArray[np.float32]  # (n, 4) the box the ROI was laid around
    truth: NDArray[np.float32]  # (n, 4)
    scores: NDArray[np.float32]  # (n, C) averaged, Eq. 6
    first: NDArray[np.float32]  # (n, C) of the frame in which tracking began

    def __len__(self) -> int:
        return len(self.features)


class Recorder(FmstTracker):
    """FMST that keeps what its prediction was made from."""

    seen: list[tuple[NDArray[np.float32], NDArray[np.float32]]]  # features, averaged scores, of the last update

    def _predict(self, groups: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        self.seen = [(groups[0], self._averages[0])]
        return super()._predict(groups)

    def pairs(
        self,
        images: Sequence[NDArray[np.uint8]],
        truth: NDArray[np.float64],
        start: int,
        generator: np.random.Generator,
    ) -> Iterator[tuple[NDArray[np.float32], ...]]:
        """Track from frame `start`; yields the fields of Pairs of every frame that serves."""
        self.init(images[start], _box(truth[start]))
        for image, box in zip(images[start + 1 :], truth[start + 1 :], strict=True):
            if generator.random() < PUSHED:
                self.box = _pushed(self.box, generator)
            previous, self.seen = self.box, []
            self.update(image)
            if not _usable(box):
                continue
            if self.seen and iou(np.array(previous), box) > USED_ABOVE:
                yield self._pair(previous, box)
            if iou(np.array(self.box), box) < LOST_BELOW:
                self.box = _box(box)

    def consecutive(
        self, images: Sequence[NDArray[np.uint8]], truth: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.float32], ...]]:
        """The paper's pairs: every frame starts anew."""
        for k in range(len(images) - 1):
            if _usable(truth[k]) and _usable(truth[k + 1]):
                self.seen = []
                self.init(images[k], _box(truth[k]))
                self.update(images[k + 1])
                if self.seen:
                    yield self._pair(_box(truth[k]), truth[k + 1])

    def _pair(self, previous: Box, truth: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
        features, scores = self.seen[0]
        window = window_around(previous, self.config.roi_scale)
        boxes = window.to_grid(np.array([previous, truth]), features.shape[0])
        return features, *boxes.astype(np.float32), scores, self._first[0]


def load_pairs(
    folder: Path, backbone: Backbone, tasks: Sequence[Task], kind: str, rollouts: int, seed: int
) -> list[Pairs]:
    """The pairs of every task, from `folder` where they have been made before; an interrupted run resumes."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for task in tqdm(tasks, desc="pairs", unit=" sequences", disable=None):
        path = folder / f"{task.name}.{_key(backbone, task, kind, rollouts, seed)}.safetensors"
        if not path.is_file():
            pairs = _make(backbone, task, kind, rollouts, seed)
            write_bytes(path, save({name: np.ascontiguousarray(values) for name, values in vars(pairs).items()}))
        found.append(_read(path))
    return found


def _read(path: Path) -> Pairs:
    try:
        return Pairs(**load_file(path))
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise DatasetError(f"cannot read the cached pairs {path}: {first_line(error)}; delete the file") from error


def _make(backbone: Backbone, task: Task, kind: str, rollouts: int, seed: int) -> Pairs:
    images = [read_image(path) for path in task.frames]
    rows: list[tuple[NDArray[np.float32], ...]] = []
    if kind == "consecutive":
        rows += Recorder(backbone, FmstConfig(seed=seed)).consecutive(images, task.boxes)
    else:
        for number in range(rollouts):
            generator = np.random.default_rng([seed, number, *task.name.encode()])
            starts = np.flatnonzero([_usable(box) for box in task.boxes[: len(images) // 2 + 1]])
            start = 0 if number % 2 == 0 else int(generator.choice(starts))
            rows += Recorder(backbone, FmstConfig(seed=seed + number)).pairs(images, task.boxes, start, generator)
    tap = backbone.info.tap("selection")
    channels, side = tap.channels, backbone.info.input_side // tap.stride
    shapes = ((side, side, channels), (4,), (4,), (channels,), (channels,))
    types = (np.float16, np.float32, np.float32, np.float32, np.float32)
    columns = [
        np.array([row[i] for row in rows], dtype).reshape(len(rows), *shape)
        for i, (shape, dtype) in enumerate(zip(shapes, types, strict=True))
    ]
    return Pairs(*columns)


def _key(backbone: Backbone, task: Task, kind: str, rollouts: int, seed: int) -> str:
    """Changes with anything the pairs of a task depend on, the backbone's weights (its fingerprint) too, but the pixels
    and this code."""
    stated = (backbone.info.to_metadata(), repr(FmstConfig()), kind, rollouts, seed, len(task.frames))
    return hashlib.sha256(repr(stated).encode() + task.boxes.tobytes()).hexdigest()[:12]


def _usable(box: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(box).all() and (box[2:] > SMALLEST_SIDE_PX).all())


def _box(values: NDArray[np.float64]) -> Box:
    x, y, w, h = values.tolist()
    return x, y, w, h


def _pushed(box: Box, generator: np.random.Generator) -> Box:
    x, y, w, h = box
    dx, dy = generator.normal(0, PUSH_XY * max(w, h), 2)
    k = float(np.exp(generator.normal(0, PUSH_SIZE)))
    return x + w / 2 + dx - w * k / 2, y + h / 2 + dy - h * k / 2, w * k, h * k
