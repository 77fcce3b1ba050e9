"""Does a tracker say the truth? What its states are worth, frame by frame, on any annotated footage.

Precision and success do not ask what was said of a box. Here a box is *right* with an IoU above 0.5, and *wrong* with
one under 0.1 or where nothing of the target is to be seen; between the two it is neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import iou
from edge_tracker.evaluation.absence_metrics import RIGHT, episodes
from edge_tracker.evaluation.ope import TaskResult
from edge_tracker.track import TrackState

WRONG = 0.1  # IoU under which a box is on something else
FOUND_WITHIN = 15  # frames
CONFIDENCES = (0.6, 0.7, 0.8, 0.9, 1.0)  # edges of the bins in which the wrong share of TRACKED is told


@dataclass(frozen=True)
class Truth:
    """Of one run: how often what was said of its frames, and of those how many were wrong; the first frame, which was
    given, left out. `drift`: for each time the box went over to something else, frames from the last right box until
    LOST was said, or the run ended. `found`: for each time that LOST or a wrong box ended while the target was to be
    seen, or could have, whether within FOUND_WITHIN frames."""

    said: dict[TrackState, int]
    wrong: dict[TrackState, int]
    right: dict[TrackState, int]
    tracked_in: NDArray[np.intp]  # (bins,) of CONFIDENCES, TRACKED frames
    wrong_in: NDArray[np.intp]  # likewise, wrong ones
    drift: tuple[int, ...]
    found: tuple[bool, ...]

    @property
    def wrong_while_tracked(self) -> float:
        """Share of the TRACKED frames that are on something else, 0..1; 0 where none is TRACKED."""
        return self.wrong[TrackState.TRACKED] / max(1, self.said[TrackState.TRACKED])


def truth_of(result: TaskResult) -> Truth:
    """Judge one run."""
    visible = result.task.visible > 0
    overlap = np.where(visible, np.nan_to_num(iou(result.boxes, result.task.boxes)), 0.0)
    right, wrong = overlap > RIGHT, overlap < WRONG
    states = np.array([state.value for state in result.states])
    later = np.arange(len(states)) > 0
    per_state = [
        {state: int((later & flags & (states == state.value)).sum()) for state in TrackState}
        for flags in (np.ones_like(right), wrong, right)
    ]
    tracked = later & (states == TrackState.TRACKED.value)
    bins = np.digitize(result.confidences, CONFIDENCES[1:-1])
    tracked_in, wrong_in = (
        np.bincount(bins[tracked & flags], minlength=len(CONFIDENCES) - 1) for flags in (right | True, wrong)
    )
    lost = states == TrackState.LOST.value
    found = tuple(e.found_after <= FOUND_WITHIN for e in episodes(result) if e.held and not np.isnan(e.found_after))
    said, wrongly, rightly = per_state
    return Truth(said, wrongly, rightly, tracked_in, wrong_in, _drifts(right, wrong, lost), found)


def _drifts(right: NDArray[np.bool_], wrong: NDArray[np.bool_], lost: NDArray[np.bool_]) -> tuple[int, ...]:
    """For each run of frames without a right box in which there is a wrong one: frames before LOST was said."""
    lengths = []
    frame = 0
    while frame < len(right):
        if right[frame]:
            frame += 1
            continue
        end = frame
        while end < len(right) and not right[end]:
            end += 1
        if wrong[frame:end].any():
            said = np.flatnonzero(lost[frame:end])
            lengths.append(int(said[0]) if len(said) else end - frame)
        frame = end
    return tuple(lengths)


def summarise_truth(results: Sequence[TaskResult]) -> dict[str, object]:
    """For summary.json. `wrong_while_tracked`: mean over tasks; all other shares over all frames; None for a share of
    nothing."""
    each = [truth_of(result) for result in results]
    drift = [frames for truth in each for frames in truth.drift]
    found = [flag for truth in each for flag in truth.found]
    tracked, wrong = (np.sum([getattr(t, name) for t in each], axis=0) for name in ("tracked_in", "wrong_in"))
    total = {
        name: {state: sum(getattr(t, name)[state] for t in each) for state in TrackState}
        for name in ("said", "wrong", "right")
    }
    return {
        "wrong_while_tracked": float(np.mean([t.wrong_while_tracked for t in each])),
        "wrong_by_state": {s.value: _share(total["wrong"][s], total["said"][s]) for s in TrackState},
        "wrong_by_confidence": {
            f"{low:g}-{high:g}": _share(int(bad), int(all_))
            for low, high, bad, all_ in zip(CONFIDENCES[:-1], CONFIDENCES[1:], wrong, tracked, strict=True)
        },
        "false_lost": _share(total["right"][TrackState.LOST], sum(total["right"].values())),
        "drift_frames": {"times": len(drift), "median": float(np.median(drift)) if drift else None},
        f"found_within_{FOUND_WITHIN}": _share(sum(found), len(found)),
    }


def truth_line(summary: dict[str, object]) -> str:
    """What `summarise_truth` found, in one line."""
    shares = {"wrong while TRACKED": "wrong_while_tracked", "right but LOST": "false_lost"}
    shares[f"re-found within {FOUND_WITHIN} frames"] = f"found_within_{FOUND_WITHIN}"
    texts = [f"{what} {100 * v:.1f} %" for what, k in shares.items() if isinstance(v := summary[k], float)]
    return ", ".join(texts)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
