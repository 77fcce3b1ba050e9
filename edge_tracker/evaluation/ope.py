"""One-pass evaluation (OPE): start on the first box of each task, track to its end, compare with the ground truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import BoxError, DatasetError, ImageError, SourceError
from edge_tracker.evaluation.boxes_file import write_boxes
from edge_tracker.evaluation.metrics import Curves, curves, mean_curves
from edge_tracker.files import write_text
from edge_tracker.follow import Target, follow
from edge_tracker.jobs.local import Executor, Here, Processes
from edge_tracker.track import TrackState
from edge_tracker.video.source import NOMINAL_FPS, Frame

MakeTracker = Callable[[], Target]  # must be picklable: it is sent to other processes


class Footage(Protocol):
    """Frames with ground truth: a `Task`, or a clip rendered from one. Picklable."""

    @property
    def name(self) -> str: ...

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Ground truth (n, 4), 0-based pixels. A row is NaN if nothing of the target is visible; the first is not."""

    @property
    def init_box(self) -> NDArray[np.float64]:
        """What a tracker is given in the first frame, (4,)."""

    @property
    def visible(self) -> NDArray[np.float64]:
        """Share of the target's box that can be seen, (n,) in [0, 1]."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class TaskResult:
    """What a tracker did on one task: boxes (n, 4), 0-based, the first as given; confidences (n,); states (n,); seconds
    of each update (n - 1,), without decoding."""

    task: Footage
    boxes: NDArray[np.float64]
    confidences: NDArray[np.float64]
    states: tuple[TrackState, ...]
    update_s: NDArray[np.float64]

    @property
    def curves(self) -> Curves:
        return curves(self.boxes, self.task.boxes)

    @property
    def fps(self) -> float:
        return frames_per_second(self.update_s)


def frames_per_second(update_s: NDArray[np.float64]) -> float:
    """Updates per second, from the seconds of each update; 0 without any."""
    total = float(update_s.sum())
    return len(update_s) / total if total > 0 else 0.0


def run_task(make_tracker: MakeTracker, task: Footage) -> TaskResult:
    """Track one task from the box given in its first frame."""
    frames = (Frame(index, index / NOMINAL_FPS, task.image(index)) for index in range(len(task)))
    steps = [(s.track, s.update_s) for s in follow(frames, make_tracker(), task.init_box)]
    return TaskResult(
        task,
        np.array([track.box for track, _ in steps], dtype=np.float64),
        np.array([track.confidence for track, _ in steps]),
        tuple(track.state for track, _ in steps),
        np.array([seconds for _, seconds in steps[1:]]),
    )


def run_tasks(
    make_tracker: MakeTracker,
    tasks: Sequence[Footage],
    jobs: int = 1,
    executor: Executor | None = None,
    faults: list[str] | None = None,
) -> Iterator[TaskResult]:
    """Track all tasks. Results come in the order in which they are ready.

    jobs: tasks at a time; above 1, each in its own process. executor: where the tasks run instead, such as a cluster.
    faults: receives one text for each task whose frames cannot be read or whose box is invalid; without it, the error
    is raised.
    """
    where = executor or (Here() if jobs == 1 else Processes(jobs))
    for number, outcome in where.run(partial(run_task, make_tracker), tasks):
        if not isinstance(outcome, Exception):
            yield outcome
        elif faults is not None and isinstance(outcome, SourceError | BoxError | ImageError):
            faults.append(f"task {tasks[number].name}: {outcome}")
        else:
            raise outcome


def summarise(results: Sequence[TaskResult]) -> dict[str, object]:
    """The content of summary.json: scores 0..1 as means over tasks; fps over all frames."""
    overall = mean_curves([r.curves for r in results])
    return {
        "precision": overall.precision_score,
        "success": overall.success_score,
        "fps": frames_per_second(np.concatenate([r.update_s for r in results])),
        "frames": sum(len(r.boxes) for r in results),
        "tasks": {
            r.task.name: {
                "precision": r.curves.precision_score,
                "success": r.curves.success_score,
                "fps": r.fps,
                "frames": len(r.boxes),
            }
            for r in results
        },
    }


def write_task(folder: Path, result: TaskResult) -> None:
    """Write `<folder>/<task>.txt`: boxes in the ground truth's format."""
    write_boxes(folder / f"{result.task.name}.txt", result.boxes)


FRAME_FIELDS = ("frame", "x", "y", "w", "h", "confidence", "state", "update_ms", "visible")


def write_frames(folder: Path, result: TaskResult) -> None:
    """Write `<folder>/<task>.csv` completely or not at all. Columns: FRAME_FIELDS. Raises OutputError.

    Boxes are 0-based; `visible` is the visible share of the target's box. `read_frames` reads it back.
    """
    lines = [",".join(FRAME_FIELDS)]
    rows = zip(
        result.boxes, result.confidences, result.states, [0.0, *result.update_s], result.task.visible, strict=True
    )
    for number, (box, confidence, state, seconds, visible) in enumerate(rows):
        values = ",".join(repr(float(v)) for v in (*box, confidence))
        lines.append(f"{number},{values},{state.value},{1e3 * seconds:.4f},{visible:.4f}")
    write_text(folder / f"{result.task.name}.csv", "\n".join(lines) + "\n")


def read_frames(folder: Path, task: Footage) -> TaskResult | None:
    """What `write_frames` wrote for this task, None if there is no file. Raises DatasetError if the file is damaged or
    belongs to other footage."""
    path = folder / f"{task.name}.csv"
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [dict(zip(FRAME_FIELDS, line.split(","), strict=True)) for line in lines[1:]]
        result = TaskResult(
            task,
            np.array([[float(row[name]) for name in "xywh"] for row in rows]),
            np.array([float(row["confidence"]) for row in rows]),
            tuple(TrackState(row["state"]) for row in rows),
            np.array([float(row["update_ms"]) for row in rows[1:]]) / 1e3,
        )
        visible = [float(row["visible"]) for row in rows]
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    if len(rows) != len(task) or not np.allclose(visible, task.visible, atol=1e-4):
        raise DatasetError(f"{path} belongs to other footage than {task.name} now has: remove it")
    return result


def write_summary(folder: Path, summary: dict[str, object]) -> None:
    """Write `<folder>/summary.json` completely or not at all. Raises OutputError."""
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
