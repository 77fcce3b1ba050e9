"""Where calibration footage comes from: videos, image folders and OTB sequences, with boxes where there are any.

Knows files and boxes; knows nothing of crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.boxes_file import read_boxes
from edge_tracker.evaluation.datasets import is_dataset, read_tasks
from edge_tracker.evaluation.task import Task
from edge_tracker.video import Source, open_source
from edge_tracker.video.images import ImageSource


@dataclass(frozen=True)
class Footage:
    """One shot: what opens it, and the target's box per frame, (n, 4) 0-based px, NaN where it is hidden."""

    name: str
    spec: str | tuple[Path, ...]  # for `open_source`, or the images themselves
    boxes: NDArray[np.float64] | None = None

    def open(self) -> Source:
        return open_source(self.spec) if isinstance(self.spec, str) else ImageSource(list(self.spec))

    def shots(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64] | None]]:
        """Every frame, uint8 (H, W, 3) BGR, with its box (4,), or None for footage without boxes.

        Frames in which the target is hidden are left out. Raises SourceError, and DatasetError where there are more
        frames than boxes.
        """
        with self.open() as source:
            for frame in source:
                if self.boxes is None:
                    yield frame.image, None
                    continue
                if frame.index >= len(self.boxes):
                    raise DatasetError(f"{self.name} has more frames than the {len(self.boxes)} boxes of its text file")
                box = self.boxes[frame.index]
                if np.isfinite(box).all() and (box[2:] > 0).all():
                    yield frame.image, box


def find_footage(specs: Sequence[str]) -> list[Footage]:
    """What `--frames` names: sequences with truth (one, or a folder of them), videos, folders and globs of images.

    The boxes of a video or image folder NAME, if there are any, are in NAME.txt: one x,y,w,h per frame, 1-based as in
    OTB. Raises DatasetError or SourceError for what is neither.
    """
    found: list[Footage] = []
    for spec in specs:
        path = Path(spec)
        if is_dataset(path):
            found += map(_of_task, read_tasks(path))
        else:
            open_source(spec).close()  # what cannot be opened should say so before an hour of other footage is read
            boxes = path.with_name(path.name + ".txt")
            found.append(Footage(path.name, spec, read_boxes(boxes) if boxes.is_file() else None))
    return found


def _of_task(task: Task) -> Footage:
    return Footage(task.name, task.frames, task.boxes)
