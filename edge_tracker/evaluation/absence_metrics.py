"""The absence protocol ("loss"): does a tracker notice when its target is gone, and does it find it again?

Scores a tracker's results on footage with known absences (`absence_clips.py`). The target is *present* if at least half
of its box is visible, and *absent* if nothing of it is; frames between the two count for neither. A box is *right* if
its IoU is above 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import iou
from edge_tracker.evaluation.ope import TaskResult
from edge_tracker.track import TrackState

PRESENT = 0.5  # least visible share of the box of a present target
RIGHT = 0.5  # IoU that a right box exceeds
WELL_VISIBLE = 0.9  # visible share of the box in the frame that decides whether a tracker held the target
NOTICED_WITHIN = 10  # frames, the goal for saying LOST: a third of a second of usual footage
FOUND_WITHIN = 15  # frames, the goal for finding the target again: half a second
BINS = 10  # bins of confidence in the reliability diagram and the calibration error


@dataclass(frozen=True)
class Episode:
    """One absence, and what the tracker did. Frames count from 0: LOST in the first absent frame is after 0 frames."""

    clip: str
    kind: str
    first: int  # the first absent frame
    length: int  # absent frames in a row
    held: bool  # when the target was last well visible, the box was right and the state was not LOST
    noticed_after: float  # absent frames until the state was LOST; inf: it was never LOST during the absence
    # Frames from the first present one until the box was right and the state not LOST. inf: this did not happen before
    # the clip's end or the next absence. NaN: fewer than FOUND_WITHIN frames were left.
    found_after: float


@dataclass(frozen=True)
class Frames:
    """What the tracker said and what was true, frame by frame, without the first frame of each clip, which is given."""

    confidence: NDArray[np.float64]
    lost: NDArray[np.bool_]
    present: NDArray[np.bool_]
    absent: NDArray[np.bool_]
    right: NDArray[np.bool_]  # the target is present and the box right
    settling: NDArray[np.bool_]  # within FOUND_WITHIN frames after the target came back

    @classmethod
    def of(cls, result: TaskResult) -> Frames:
        visible = result.task.visible
        present = visible >= PRESENT
        back = np.zeros(len(visible), dtype=np.bool_)
        for _, end in _absences(visible):
            first = _next(present, end)
            back[first : first + FOUND_WITHIN + 1] = True
        lost = np.array([state is TrackState.LOST for state in result.states])
        right = present & (iou(result.boxes, result.task.boxes) > RIGHT)
        return cls(result.confidences[1:], lost[1:], present[1:], (visible == 0)[1:], right[1:], back[1:])

    @classmethod
    def all_of(cls, results: Iterable[TaskResult]) -> Frames:
        each = [cls.of(result) for result in results]
        return cls(*(np.concatenate([getattr(f, name) for f in each]) for name in cls.__dataclass_fields__))


def episodes(result: TaskResult) -> list[Episode]:
    """Every absence in a clip or task."""
    visible = result.task.visible
    overlap = iou(result.boxes, result.task.boxes)
    lost = np.array([state is TrackState.LOST for state in result.states])
    good = (visible >= PRESENT) & (overlap > RIGHT) & ~lost
    absences = _absences(visible)
    found = []
    for number, (first, end) in enumerate(absences):
        before = first - 1
        while before > 0 and visible[before] < WELL_VISIBLE:
            before -= 1
        back = _next(visible >= PRESENT, end)
        until = absences[number + 1][0] if number + 1 < len(absences) else len(visible)
        found_after = float(_next(good, back, until) - back) if good[back:until].any() else np.inf
        if found_after == np.inf and until - back <= FOUND_WITHIN:
            found_after = np.nan
        found.append(
            Episode(
                clip=result.task.name,
                kind=getattr(result.task, "kind", "natural"),
                first=first,
                length=end - first,
                held=bool(overlap[before] > RIGHT and not lost[before]),
                noticed_after=float(_next(lost, first) - first) if lost[first:end].any() else np.inf,
                found_after=found_after,
            )
        )
    return found


def _absences(visible: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First absent frame and the frame after the last, of every run of absent frames."""
    edges = np.diff(np.concatenate([[0], (visible == 0).astype(np.int8), [0]]))
    return [(int(a), int(b)) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)]


def _next(flags: NDArray[np.bool_], start: int, end: int | None = None) -> int:
    """The first frame at or after `start` whose flag is set, `end` (the number of frames) if there is none."""
    end = len(flags) if end is None else end
    hits = np.flatnonzero(flags[start:end])
    return start + int(hits[0]) if len(hits) else end


def area_under_roc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Probability that a positive has a higher value than a negative; ties count half. NaN if either is empty."""
    if len(positive) == 0 or len(negative) == 0:
        return float("nan")
    ordered = np.sort(negative)
    below, up_to = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    return float((below + up_to).mean() / (2 * len(negative)))


def roc(
    positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    rates = [1 - np.searchsorted(np.sort(v), thresholds, "left") / max(len(v), 1) for v in (negative, positive)]
    return np.concatenate([[0.0], rates[0]]), np.concatenate([[0.0], rates[1]])


def judged(frames: Frames) -> NDArray[np.bool_]:
    """The frames on which confidence is scored: those in which the target is present or absent."""
    return frames.present | frames.absent


def reliability(frames: Frames) -> list[dict[str, float]]:
    """Per bin of confidence: frames, mean confidence, share of frames with a right box."""
    kept = judged(frames)
    confidence, right = frames.confidence[kept], frames.right[kept]
    number = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    rows = []
    for k in range(BINS):
        inside = number == k
        if inside.any():
            rows.append(
                {
                    "from": k / BINS,
                    "to": (k + 1) / BINS,
                    "frames": int(inside.sum()),
                    "confidence": float(confidence[inside].mean()),
                    "right": float(right[inside].mean()),
                }
            )
    return rows


def calibration_error(rows: Sequence[dict[str, float]]) -> float:
    """Expected calibration error: mean over frames of |confidence - share right|, by bin (Guo et al. 2017)."""
    total = sum(row["frames"] for row in rows)
    return sum(row["frames"] * abs(row["confidence"] - row["right"]) for row in rows) / total if total else float("nan")


def lost_below(results: Sequence[TaskResult], threshold: float) -> list[TaskResult]:
    """The same results, with LOST also wherever the confidence is below `threshold`: for trackers that give a score
    but no state."""
    changed = []
    for result in results:
        states = [
            TrackState.LOST if c < threshold else s for c, s in zip(result.confidences, result.states, strict=True)
        ]
        changed.append(replace(result, states=tuple(states)))
    return changed


def threshold_for(results: Sequence[TaskResult], false_lost: float = 0.01) -> float:
    """The highest confidence threshold that calls at most a share `false_lost` of the frames with a right box LOST."""
    frames = Frames.all_of(results)
    ordered = np.sort(frames.confidence[frames.right])
    # At most k frames are below ordered[k].
    return float(ordered[int(false_lost * len(ordered))]) if len(ordered) else 0.0


def lost_by_score(results: Sequence[TaskResult]) -> tuple[list[TaskResult], tuple[float, float]]:
    """The same results, with LOST also below a threshold of confidence, and the two thresholds used.

    The sequences are split into two halves. Each half is scored with the threshold chosen on the other
    (`threshold_for`), so that no sequence is scored with a threshold fitted to it.
    """
    names = sorted({_sequence(result) for result in results})
    halves = [[r for r in results if names.index(_sequence(r)) % 2 == half] for half in (0, 1)]
    thresholds = threshold_for(halves[1]), threshold_for(halves[0])
    judged = [lost_below(half, threshold) for half, threshold in zip(halves, thresholds, strict=True)]
    return judged[0] + judged[1], thresholds


def _sequence(result: TaskResult) -> str:
    """The sequence that a clip was cut from; targets of one sequence share it."""
    return str(getattr(result.task, "source", result.task).name).split(".")[0]


def summarise_loss(results: Sequence[TaskResult]) -> dict[str, object]:
    """The content of summary.json: all clips together, and by kind. Shares 0..1, delays in frames, None for an infinite
    delay and for a share of no frames."""
    found = [episode for result in results for episode in episodes(result)]
    kinds = sorted({kind_of(result) for result in results})
    return {
        "protocol": "loss",
        "clips": len(results),
        "frames": sum(len(result.boxes) for result in results),
        **_figures(Frames.all_of(results), found),
        "reliability": reliability(Frames.all_of(results)),
        "kinds": {
            kind: _figures(
                Frames.all_of(result for result in results if kind_of(result) == kind),
                [episode for episode in found if episode.kind == kind],
            )
            for kind in kinds
        },
        "episodes": [
            {
                "clip": e.clip,
                "first": e.first,
                "length": e.length,
                "held": e.held,
                "lost_after": _finite(e.noticed_after),
                "found_after": _finite(e.found_after),
            }
            for e in found
        ],
    }


def kind_of(result: TaskResult) -> str:
    """The kind of clip a result is of; an unedited sequence is "natural"."""
    return getattr(result.task, "kind", "natural")


def _figures(frames: Frames, found: Sequence[Episode]) -> dict[str, object]:
    held = [episode for episode in found if episode.held]
    # A shorter absence is over before the goal's last frame.
    noticed = np.array([e.noticed_after for e in held if e.length > NOTICED_WITHIN])
    back = np.array([e.found_after for e in held if not np.isnan(e.found_after)])
    said_present = ~frames.lost
    kept = judged(frames)
    confidence, right = frames.confidence[kept], frames.right[kept]
    return {
        "absences": len(found),
        "absences_held": len(held),  # the tracker held the target before: delays count these alone
        "lost_after": {
            "absences": len(noticed),
            "median": _quantile(noticed, 0.5),
            "p95": _quantile(noticed, 0.95),
            f"within_{NOTICED_WITHIN}": _share(noticed <= NOTICED_WITHIN),
            "never": _share(np.isinf(noticed)),
        },
        "found_after": {
            "absences": len(back),
            "median": _quantile(back, 0.5),
            f"within_{FOUND_WITHIN}": _share(back <= FOUND_WITHIN),
            "never": _share(np.isinf(back)),
        },
        "false_lost": _share(frames.lost[frames.right]),
        "false_lost_settled": _share(frames.lost[frames.right & ~frames.settling]),
        "absent_called_lost": _share(frames.lost[frames.absent]),
        "present_precision": _share(frames.present[kept & said_present]),
        "present_recall": _share(said_present[frames.present]),
        "right_of_present": _share(frames.right[frames.present]),
        "auroc": _finite(area_under_roc(confidence[right], confidence[~right])),
        "calibration_error": _finite(calibration_error(reliability(frames))),
    }


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _quantile(values: NDArray[np.float64], q: float) -> float | None:
    """The smallest value that at least a share q of the values do not exceed. Infinite values count; if one is the
    quantile, the answer is None."""
    return _finite(float(np.quantile(values, q, method="inverted_cdf"))) if len(values) else None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
