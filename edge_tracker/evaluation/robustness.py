"""SRE and TRE: how much a tracker's accuracy depends on its first box and frame (Wu, Lim and Yang 2013, section 4).

Spatial robustness evaluation (SRE) starts the tracker on twelve perturbed boxes: shifted by 10 % of the target's size
towards the four sides and the four corners, and scaled by 0.8, 0.9, 1.1 and 1.2. Temporal robustness evaluation (TRE)
starts it on the true box in twenty frames from the first to near the last, and always runs to the sequence's end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edge_tracker.evaluation.metrics import Curves, mean_curves
from edge_tracker.evaluation.ope import TaskResult
from edge_tracker.evaluation.task import Task
from edge_tracker.images import size_of

SHIFT = 0.1  # share of width and height; from the paper, as are the numbers below
SHIFTS = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "upleft": (-1, -1),
    "upright": (1, -1),
    "downleft": (-1, 1),
    "downright": (1, 1),
}
SCALES = (0.8, 0.9, 1.1, 1.2)  # factors of width and height about the centre
SEGMENTS = 20  # starts in a sequence
SHORTEST_SEGMENT = 20  # frames from the last start to the end; ours: fewer say little


def spatial_variants(task: Task) -> list[Task]:
    """The task with each of the twelve perturbed boxes as its first box, clipped to the frame."""
    x, y, w, h = task.boxes[0]
    boxes = {name: (x + SHIFT * w * dx, y + SHIFT * h * dy, w, h) for name, (dx, dy) in SHIFTS.items()}
    for scale in SCALES:
        boxes[f"scale{scale:g}"] = (x + w * (1 - scale) / 2, y + h * (1 - scale) / 2, w * scale, h * scale)
    width, height = size_of(task.image(0))
    variants = []
    for name, (left, top, wide, high) in boxes.items():
        x0, y0, x1, y1 = max(left, 0.0), max(top, 0.0), min(left + wide, width), min(top + high, height)
        given = (float(x0), float(y0), float(x1 - x0), float(y1 - y0))
        variants.append(replace(task, name=f"{task.name}-{name}", given=given))
    return variants


def temporal_variants(task: Task) -> list[Task]:
    """The task from each of SEGMENTS evenly spaced frames to its end; fewer if the sequence has fewer such frames.

    A start needs a visible target and SHORTEST_SEGMENT frames to the end. The first frame is always a start.
    """
    starts = np.flatnonzero(task.visible > 0)
    starts = starts[(starts <= len(task) - SHORTEST_SEGMENT) | (starts == 0)]
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, SEGMENTS).round().astype(int))]
    return [
        Task(f"{task.name}-from{start}", task.frames[start:], task.boxes[start:]) for start in (int(s) for s in chosen)
    ]


def variants_of(task: Task, protocol: str) -> list[Task]:
    """The runs of a task in "sre" or "tre"."""
    return {"sre": spatial_variants, "tre": temporal_variants}[protocol](task)


def summarise_robustness(
    protocol: str, ope: Sequence[TaskResult], varied: Mapping[str, Sequence[TaskResult]]
) -> tuple[dict[str, object], Curves, Curves]:
    """The content of summary.json, and the mean curves of OPE and of the protocol.

    ope: one result per task. varied: task name -> results of its variants. A task's curves are the mean over its
    variants, the overall curves the mean over tasks. ratio: success of the protocol / success of OPE.
    """
    per_task = {name: mean_curves([result.curves for result in results]) for name, results in varied.items()}
    plain = mean_curves([result.curves for result in ope])
    mean = mean_curves(list(per_task.values()))
    summary = {
        "protocol": protocol,
        "precision": mean.precision_score,
        "success": mean.success_score,
        "ope_precision": plain.precision_score,
        "ope_success": plain.success_score,
        "ratio": _ratio(mean, plain),
        "tasks": {
            result.task.name: {
                "runs": len(varied[result.task.name]),
                "precision": per_task[result.task.name].precision_score,
                "success": per_task[result.task.name].success_score,
                "ope_success": result.curves.success_score,
                "ratio": _ratio(per_task[result.task.name], result.curves),
                "variants": {
                    variant.task.name.removeprefix(f"{result.task.name}-"): variant.curves.success_score
                    for variant in varied[result.task.name]
                },
            }
            for result in ope
        },
    }
    return summary, plain, mean


def _ratio(curves: Curves, ope: Curves) -> float | None:
    return curves.success_score / ope.success_score if ope.success_score > 0 else None
