"""Layouts of data sets on disk. Each is a function that returns the sequences in a folder, or none if it does not fit.

A folder may be the data set, one of its parts (train, val, test), or a single sequence.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import from_one_based
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.boxes_file import is_blank, numbered_lines, numbers_of, read_boxes
from edge_tracker.evaluation.task import Task
from edge_tracker.video.images import images_in, natural

# Sequences of OTB with more images than boxes: the first and last image that have a box, counted from 1.
# http://cvlab.hanyang.ac.kr/tracker_benchmark/datasets.html; the got10k toolkit cuts them in the same way.
OTB_PARTS = {"david": (300, 770), "football1": (1, 74), "freeman3": (1, 460), "freeman4": (1, 283), "diving": (1, 215)}
# A part of a UAV123 sequence begins at the last frame of the part before. These begin elsewhere; counted from 1.
UAV123_STARTS = {"bird1_2": 775, "bird1_3": 1573, "uav1_3": 2473}
PEDESTRIAN = 1  # class number in a row of the MOT challenge
PALETTE = 3  # byte 25 of a PNG, the colour type: palette

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A sequence that was found but not read yet. many: it may have several targets, Name.1, Name.2, ..."""

    name: str
    read: Callable[[], list[Task]]
    many: bool = False


def otb(root: Path) -> list[Entry]:
    """`<Name>/img/*` and `<Name>/groundtruth_rect*.txt`, one file per target; 1-based."""
    entries = []
    for truth in _sorted([*root.glob("groundtruth_rect*.txt"), *root.glob("*/groundtruth_rect*.txt")]):
        name = _name(truth.parent) + truth.stem.removeprefix("groundtruth_rect")
        if is_blank(truth):
            log.warning("%s is empty: left out", truth)
            continue
        entries.append(Entry(name, partial(_otb, name, truth)))
    return entries


def _otb(name: str, truth: Path) -> list[Task]:
    frames, boxes = _images(truth.parent / "img"), read_boxes(truth)
    first, last = OTB_PARTS.get(_name(truth.parent).lower(), (1, len(frames)))
    if len(frames) != len(boxes) and len(frames) >= last:
        frames = frames[first - 1 : last]
    return [_task(name, frames, boxes, truth)]


def lasot(root: Path) -> list[Entry]:
    """`[<class>/]<class>-<n>/img/*`, `groundtruth.txt`, `full_occlusion.txt`, `out_of_view.txt`; 1-based."""
    truths = [t for t in _truths(root, "groundtruth.txt", 2) if (t.parent / "img").is_dir()]
    return [Entry(_name(t.parent), partial(_lasot, t)) for t in truths]


def _lasot(truth: Path) -> list[Task]:
    boxes = read_boxes(truth)
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        boxes[_flags(truth.parent / name, len(boxes)) > 0] = np.nan
    return [_task(_name(truth.parent), _images(truth.parent / "img"), boxes, truth)]


def got10k(root: Path) -> list[Entry]:
    """`[train|val|test/]<Name>/*.jpg`, `groundtruth.txt` and `absence.label` or `meta_info.ini`; 0-based."""
    truths = [
        t
        for t in _truths(root, "groundtruth.txt", 2)
        if (t.parent / "absence.label").is_file() or (t.parent / "meta_info.ini").is_file()
    ]
    return [Entry(_name(t.parent), partial(_got10k, t)) for t in truths]


def _got10k(truth: Path) -> list[Task]:
    name, frames, boxes = _name(truth.parent), _images(truth.parent), read_boxes(truth, one_based=False)
    if len(boxes) == 1 < len(frames):
        raise DatasetError(f"task {name} has a box for its first frame only: the truth of a test set is not public")
    boxes[_flags(truth.parent / "absence.label", len(boxes)) > 0] = np.nan
    return [_task(name, frames, boxes, truth)]


def uav123(root: Path) -> list[Entry]:
    """`data_seq/UAV123/<Name>/*` and `anno/UAV123/<Name>[_part].txt`; 1-based, NaN for absent."""
    for images in (root / "data_seq" / "UAV123", root / "data_seq"):
        for truths in (root / "anno" / "UAV123", root / "anno" / "UAV20L", root / "anno"):
            found = _sorted(truths.glob("*.txt")) if images.is_dir() else []
            if found:
                return [Entry(t.stem, partial(_uav123, t, images)) for t in found]
    return []


def _uav123(truth: Path, images: Path) -> list[Task]:
    boxes, start, folder = read_boxes(truth), 1, images / truth.stem
    part = re.fullmatch(r"(.+)_(\d+)", truth.stem)
    if not folder.is_dir() and part:
        folder = images / part[1]
        for number in range(2, int(part[2]) + 1):
            before = truth.with_name(f"{part[1]}_{number - 1}.txt")
            start = UAV123_STARTS.get(f"{part[1]}_{number}", start + len(read_boxes(before)) - 1)
        return [_task(truth.stem, _images(folder)[start - 1 : start - 1 + len(boxes)], boxes, truth)]
    return [_task(truth.stem, _images(folder), boxes, truth)]


def vot(root: Path) -> list[Entry]:
    """`[sequences/]<Name>/color/*` or `<Name>/*.jpg`, and `groundtruth.txt` of boxes or polygons; 0-based."""
    return [Entry(_name(t.parent), partial(_vot, t)) for t in _truths(root, "groundtruth.txt", 2)]


def _vot(truth: Path) -> list[Task]:
    name = _name(truth.parent)
    if any(line.lstrip().startswith("m") for _, line in numbered_lines(truth)[:1]):
        raise DatasetError(f"task {name} has masks for its truth (VOT 2020 and later), not boxes: not supported")
    colour = truth.parent / "color"
    return [
        _task(name, _images(colour if colour.is_dir() else truth.parent), read_boxes(truth, one_based=False), truth)
    ]


def mot(root: Path) -> list[Entry]:
    """`[train/]<Name>/img1/*` and `<Name>/gt/gt.txt`: every pedestrian that counts is a target; 1-based."""
    truths = _truths(root, "gt/gt.txt", 2)
    return [Entry(_name(t.parents[1]), partial(_mot, t), many=True) for t in truths]


def _mot(truth: Path) -> list[Task]:
    folder = truth.parents[1]
    frames, rows = _images(folder / "img1"), []
    for number, line in numbered_lines(truth):
        values = numbers_of(line, truth, number)
        if len(values) < 6 or not np.isfinite(values).all():
            raise DatasetError(f"{truth}, line {number}: {len(values)} numbers, not at least 6")
        counted = len(values) < 8 or (values[6] != 0 and values[7] == PEDESTRIAN)
        if counted and values[4] > 0 and values[5] > 0:
            rows.append(values[:6])
    table = np.array(rows).reshape(-1, 6)
    if len(table) and (table[:, 0].min() < 1 or table[:, 0].max() > len(frames)):
        raise DatasetError(f"{truth} names frames up to {table[:, 0].max():.0f}, but there are {len(frames)} images")
    tasks = []
    for target in np.unique(table[:, 1]):
        own = table[table[:, 1] == target]
        boxes = np.full((len(frames), 4), np.nan)
        boxes[own[:, 0].astype(int) - 1] = from_one_based(own[:, 2:6])
        tasks += _from_first_sight(f"{_name(folder)}.{target:.0f}", frames, boxes, truth)
    return tasks


def davis(root: Path) -> list[Entry]:
    """`JPEGImages/<size>/<Name>/*` and `Annotations/<size>/<Name>/*.png`, an object's number in each pixel."""
    for size in ("480p", "Full-Resolution", "1080p", ""):
        folders = [p for p in (root / "Annotations" / size).glob("*") if p.is_dir() and any(p.glob("*.png"))]
        found = [p for p in folders if (root / "JPEGImages" / size / p.name).is_dir()]
        if found:
            images = root / "JPEGImages" / size
            return [Entry(p.name, partial(_davis, p, images / p.name), many=True) for p in _sorted(found)]
    return []


def _davis(masks: Path, images: Path) -> list[Task]:
    frames = _images(images)
    by_stem = {path.stem: path for path in images_in(masks)}
    pictures = [_mask(by_stem[f.stem]) if f.stem in by_stem else None for f in frames]
    objects = sorted({int(v) for m in pictures if m is not None for v in np.unique(m)} - {0, 255})
    if not objects:  # one object in white, as in DAVIS 2016
        objects = [255]
    tasks = []
    for number in objects:
        name = masks.name if len(objects) == 1 else f"{masks.name}.{number}"
        boxes = np.array([[np.nan] * 4 if m is None else _box_of(m == number) for m in pictures])
        tasks += _from_first_sight(name, frames, boxes, masks)
    return tasks


def _mask(path: Path) -> NDArray[np.uint8]:
    """The objects' numbers (H, W) of a grey or palette PNG. OpenCV gives a palette's colours, not its numbers."""
    data = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if picture is None:
        raise DatasetError(f"{path} is not an image that can be decoded")
    if len(data) < 26 or data[25] != PALETTE:
        return np.asarray(picture[..., 0], np.uint8)
    bits = (picture[..., ::-1].astype(int) >> 7) & 1  # bits 0, 1, 2 of the number are the top bits of R, G, B ...
    next_bits = (picture[..., ::-1].astype(int) >> 6) & 1  # ... and bits 3, 4, 5 the next (PASCAL VOC's palette)
    return np.asarray((bits * (1, 2, 4)).sum(-1) + (next_bits * (8, 16, 32)).sum(-1), np.uint8)


def _box_of(mask: NDArray[np.bool_]) -> list[float]:
    ys, xs = np.nonzero(mask)
    if not len(xs):
        return [np.nan] * 4
    return [float(xs.min()), float(ys.min()), float(np.ptp(xs) + 1), float(np.ptp(ys) + 1)]


LAYOUTS: tuple[Callable[[Path], list[Entry]], ...] = (otb, uav123, mot, davis, got10k, lasot, vot)


def _truths(root: Path, name: str, depth: int) -> list[Path]:
    """Files `name` in `root` or up to `depth` folders below it."""
    return _sorted(path for level in range(depth + 1) for path in root.glob("*/" * level + name))


def _name(folder: Path) -> str:
    return folder.absolute().name  # "." has none


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted((p for p in paths if not p.name.startswith(".")), key=natural)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"sequence {folder.parent} has no folder {folder.name}")
    return images_in(folder)


def _flags(path: Path, count: int) -> NDArray[np.float64]:
    """(count,) numbers of a file, one per line or all in one line; zeros without a file. Raises DatasetError."""
    if not path.is_file():
        return np.zeros(count)
    values = [value for number, line in numbered_lines(path) for value in numbers_of(line, path, number)]
    if len(values) != count:
        raise DatasetError(f"{path} has {len(values)} marks for {count} boxes")
    return np.array(values)


def _from_first_sight(name: str, frames: list[Path], boxes: NDArray[np.float64], truth: Path) -> list[Task]:
    """The task from the target's first frame to its last; none if it is visible in fewer than two frames."""
    (seen,) = np.nonzero(np.isfinite(boxes).all(axis=1))
    if len(seen) < 2:
        return []
    part = slice(int(seen[0]), int(seen[-1]) + 1)
    return [_task(name, frames[part], boxes[part], truth)]


def _task(name: str, frames: list[Path], boxes: NDArray[np.float64], truth: Path) -> Task:
    if len(frames) != len(boxes):
        raise DatasetError(f"task {name} has {len(frames)} images but {len(boxes)} boxes in {truth.name}")
    if not np.isfinite(boxes[0]).all():
        raise DatasetError(f"task {name} has no box in its first frame")
    return Task(name, tuple(frames), boxes)
