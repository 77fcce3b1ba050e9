"""Sequences in OTB's layout: `<Name>/img/*.jpg` and `<Name>/groundtruth_rect*.txt` (x, y, w, h, 1-based)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, from_one_based, to_one_based
from edge_tracker.errors import DatasetError
from edge_tracker.video.images import IMAGE_SUFFIXES, read_image


@dataclass(frozen=True)
class Task:
    """One target of one sequence. `boxes` (n, 4) are 0-based pixels; NaN rows mark a hidden target.

    given: what a tracker is given in the first frame instead of the true box.
    """

    name: str
    frames: tuple[Path, ...]
    boxes: NDArray[np.float64]
    given: Box | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def init_box(self) -> NDArray[np.float64]:
        """What a tracker is given in the first frame, (4,)."""
        return self.boxes[0] if self.given is None else np.array(self.given)

    @property
    def visible(self) -> NDArray[np.float64]:
        """Share of the target that can be seen, (n,): 1, or 0 where it is marked as hidden."""
        return np.where(np.isfinite(self.boxes).all(axis=1), 1.0, 0.0)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Frame `index`, uint8 (H, W, 3) BGR. Raises SourceError."""
        return read_image(self.frames[index])


def read_tasks(root: Path, names: Collection[str] | None = None) -> list[Task]:
    """All tasks under `root`, by name; a sequence with several targets gives `Name.1`, `Name.2`, ...

    names: keep these tasks only (`Name` keeps all targets of the sequence). Raises DatasetError.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder at {root}")
    tasks = [_read_task(truth) for truth in sorted(root.glob("*/groundtruth_rect*.txt"))]
    if not tasks:
        raise DatasetError(f"{root} holds no sequence: expected <Name>/img/ and <Name>/groundtruth_rect.txt")
    if names is None:
        return tasks
    known = {task.name for task in tasks} | {task.name.split(".")[0] for task in tasks}
    unknown = sorted(set(names) - known)
    if unknown:
        raise DatasetError(f"{root} has no sequence {', '.join(unknown)}; it has {', '.join(t.name for t in tasks)}")
    return [task for task in tasks if task.name in names or task.name.split(".")[0] in names]


def _read_task(truth: Path) -> Task:
    folder = truth.parent
    name = folder.name + truth.stem.removeprefix("groundtruth_rect")
    boxes = read_boxes(truth)
    images = folder / "img"
    if not images.is_dir():
        raise DatasetError(f"sequence {folder} has no folder img")
    frames = sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if len(frames) != len(boxes):
        raise DatasetError(f"task {name} has {len(frames)} images but {len(boxes)} boxes in {truth.name}")
    if not np.isfinite(boxes[0]).all() or (boxes[0, 2:] <= 0).any():
        raise DatasetError(f"task {name} has no box in its first frame")
    return Task(name, tuple(frames), boxes)


def read_boxes(path: Path) -> NDArray[np.float64]:
    """Read ground truth, one x, y, w, h per line parted by commas, tabs, semicolons or blanks -> (n, 4), 0-based.

    Rows with NaN become all NaN. Raises DatasetError that names the line.
    """
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = [float(v) for v in re.split(r"[,;\s]+", line.strip(" \t,;"))]
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: not numbers: {line!r}") from error
        if len(values) != 4:
            raise DatasetError(f"{path}, line {number}: {len(values)} numbers, not 4")
        rows.append(values if np.isfinite(values).all() else [np.nan] * 4)
    if not rows:
        raise DatasetError(f"{path} holds no box")
    return from_one_based(np.array(rows, dtype=np.float64))


def write_boxes(path: Path, boxes: NDArray[np.float64]) -> None:
    """Write 0-based boxes (n, 4) the way ground truth is: 1-based, one `x,y,w,h` per line."""
    np.savetxt(path, to_one_based(boxes), fmt="%.3f", delimiter=",")
