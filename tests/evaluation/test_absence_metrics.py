"""Figures of the loss protocol against hand-made cases whose answer can be read off."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.evaluation.absence_metrics import (
    Frames,
    area_under_roc,
    calibration_error,
    episodes,
    lost_below,
    lost_by_score,
    reliability,
    roc,
    summarise_loss,
    threshold_for,
)
from edge_tracker.evaluation.absence_table import LOST_WITHIN, loss_table
from edge_tracker.evaluation.ope import TaskResult
from edge_tracker.track import TrackState

BOX, WRONG = (10.0, 10.0, 20.0, 20.0), (90.0, 10.0, 20.0, 20.0)


class Case:
    """Footage without pictures: a target that stays in BOX, seen where `visible` says."""

    def __init__(self, visible: list[float], kind: str) -> None:
        self.name, self.kind = "case", kind
        self.visible = np.array(visible)
        self.boxes = np.where(self.visible[:, None] > 0, np.array(BOX), np.nan)

    def __len__(self) -> int:
        return len(self.visible)

    def image(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError


def case(seen: str, said: str, confidence: list[float] | None = None, kind: str = "cut") -> TaskResult:
    """One letter a frame. seen: s the target, p a part of 0.3, . nothing. said: t the right box, w a wrong one,
    l LOST with the right box, x LOST with a wrong one."""
    assert len(seen) == len(said)
    return TaskResult(
        task=Case([{"s": 1.0, "p": 0.3, ".": 0.0}[c] for c in seen], kind),
        boxes=np.array([BOX if c in "tl" else WRONG for c in said]),
        confidences=np.array(confidence or [0.9 if c == "t" else 0.2 for c in said]),
        states=tuple(TrackState.LOST if c in "lx" else TrackState.TRACKED for c in said),
        update_s=np.full(len(seen) - 1, 0.001),
    )


AWAY = "." * 12
BACK = "s" * 16


def test_an_episode_that_goes_well() -> None:
    (found,) = episodes(case("sssspp" + AWAY + "pp" + BACK, "tttttt" + "wwwxxxxxxxxx" + "xx" + "xxttttttttttttxx"))
    assert (found.first, found.length, found.held) == (6, 12, True)
    assert found.noticed_after == 3
    assert found.found_after == 2


def test_lost_said_while_it_goes_counts_as_at_once() -> None:
    (found,) = episodes(case("sssspp" + AWAY + BACK, "ttttxx" + "x" * 12 + "t" * 16))
    assert (found.noticed_after, found.found_after) == (0, 0)


def test_lost_taken_back_before_it_is_gone_does_not_count() -> None:
    (found,) = episodes(case("sssspp" + AWAY + BACK, "ttttxw" + "w" * 12 + "t" * 16))
    assert found.noticed_after == math.inf


def test_a_right_box_called_lost_is_not_found_and_a_wrong_one_neither() -> None:
    (found,) = episodes(case("ssss" + AWAY + BACK, "tttt" + "x" * 12 + "w" * 4 + "l" * 4 + "t" * 8))
    assert found.found_after == 8


def test_never_noticed_and_never_found() -> None:
    (found,) = episodes(case("ssss" + AWAY + BACK, "tttt" + "w" * 12 + "w" * 16))
    assert (found.noticed_after, found.found_after) == (math.inf, math.inf)


def test_a_clip_that_ends_too_early_to_find_it_does_not_tell() -> None:
    (found,) = episodes(case("ssss" + AWAY + "s" * 15, "tttt" + "x" * 12 + "w" * 15))
    assert math.isnan(found.found_after)
    (found,) = episodes(case("ssss" + AWAY + "s" * 15, "tttt" + "x" * 12 + "w" * 14 + "t"))
    assert found.found_after == 14
    (found,) = episodes(case("ssss" + AWAY, "tttt" + "x" * 12))
    assert math.isnan(found.found_after)


@pytest.mark.parametrize(("before", "held"), [("tttt", True), ("tttw", False), ("tttl", False), ("wwwt", True)])
def test_only_a_target_that_was_held_can_be_missed(before: str, held: bool) -> None:
    result = case("sssspp" + AWAY + BACK, before + "ww" + "x" * 12 + "t" * 16)
    (found,) = episodes(result)
    assert found.held is held
    summary = summarise_loss([result])
    assert (summary["absences"], summary["absences_held"]) == (1, int(held))


def test_two_absences_in_one_clip() -> None:
    first, second = episodes(case("ss" + AWAY + "s" * 5 + AWAY + BACK, "tt" + "x" * 12 + "wwwww" + "w" * 12 + "t" * 16))
    assert (first.noticed_after, first.held) == (0, True)
    assert math.isnan(first.found_after)  # five frames are too few
    assert (second.first, second.noticed_after, second.held, second.found_after) == (19, math.inf, False, 0)


def test_figures_over_several_clips() -> None:
    results = [
        case("s" * 20 + AWAY + BACK, "t" * 20 + "x" * 12 + "t" * 16),
        case("s" * 20 + AWAY + BACK, "t" * 20 + "wwxxxxxxxxxx" + "xxxx" + "t" * 12),
        case("s" * 20 + AWAY + BACK, "t" * 20 + "w" * 12 + "w" * 16, kind="exit"),
        case("s" * 20 + "...." + BACK, "t" * 20 + "wwww" + "t" * 16),  # too short an absence to judge the delay by
    ]
    summary = summarise_loss(results)
    assert summary["lost_after"] == {
        "absences": 3,
        "median": 2.0,
        "p95": None,
        "within_10": pytest.approx(2 / 3),
        "never": pytest.approx(1 / 3),
    }
    assert summary["found_after"] == {"absences": 4, "median": 0.0, "within_15": 0.75, "never": 0.25}
    assert summary["false_lost"] == 0
    assert summary["absent_called_lost"] == pytest.approx(22 / 40)
    present = 4 * (19 + 16)
    assert summary["present_recall"] == pytest.approx((present - 4) / present)
    assert summary["present_precision"] == pytest.approx((present - 4) / (present - 4 + 18))
    assert summary["right_of_present"] == pytest.approx((present - 20) / present)
    kinds = summary["kinds"]
    assert isinstance(kinds, dict)
    assert set(kinds) == {"cut", "exit"}
    assert kinds["exit"]["lost_after"]["never"] == 1.0
    assert kinds["cut"]["absences"] == 3


def test_false_lost_is_of_right_boxes_alone() -> None:
    """Of the ten frames after the first, seven have a right box, two of them called LOST; a part counts for neither."""
    summary = summarise_loss([case("sssssssspss", "tttltlwxltt")])
    assert summary["false_lost"] == pytest.approx(2 / 7)


def test_false_lost_while_settling_is_told_apart() -> None:
    result = case("s" * 11 + AWAY + "s" * 36, "t" * 10 + "l" + "x" * 12 + "l" * 6 + "t" * 30)
    summary = summarise_loss([result])
    assert summary["false_lost"] == pytest.approx(7 / 46)
    assert summary["false_lost_settled"] == pytest.approx(1 / (46 - 16))


def test_the_first_frame_does_not_count() -> None:
    assert len(Frames.of(case("ssss", "tttt")).right) == 3


def test_area_under_roc_counts_pairs() -> None:
    random = np.random.default_rng(0)
    positive, negative = random.integers(0, 8, 40) / 8, random.integers(0, 6, 30) / 8
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert area_under_roc(positive, negative) == pytest.approx(np.mean(pairs))
    false_rate, true_rate = roc(positive, negative)
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    area = (np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2).sum()  # np.trapezoid is of NumPy 2
    assert area == pytest.approx(np.mean(pairs))


def test_reliability_by_hand() -> None:
    said = [1.0, 0.95, 0.95, 0.35, 0.35, 0.35, 0.35]
    result = case("sssssss", "ttwtwww", said)
    rows = reliability(Frames.of(result))
    assert [(row["frames"], row["right"]) for row in rows] == [(4, 0.25), (2, 0.5)]
    assert [row["confidence"] for row in rows] == [pytest.approx(0.35), pytest.approx(0.95)]
    assert calibration_error(rows) == pytest.approx((4 * 0.1 + 2 * 0.45) / 6)


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    (row,) = reliability(Frames.of(case("ss", "tt", [1.0, 1.0])))
    assert (row["from"], row["to"], row["right"]) == (0.9, 1.0, 1.0)


def test_a_threshold_keeps_false_lost_under_its_limit() -> None:
    random = np.random.default_rng(1)
    results = [case("s" * 301, "t" * 301, random.random(301).tolist()) for _ in range(3)]
    threshold = threshold_for(results)
    limited = Frames.all_of(lost_below(results, threshold))
    assert limited.lost[limited.right].mean() == pytest.approx(0.01, abs=0.0012)
    assert limited.lost[limited.right].mean() <= 0.01
    higher = Frames.all_of(lost_below(results, threshold + 0.005))
    assert higher.lost.mean() > 0.01


def test_a_score_is_judged_by_a_threshold_of_the_other_half() -> None:
    """Two sequences, four clips; right boxes of A score .8 and more, those of B .4 and more."""
    results = []
    for name, low in (("A", 0.8), ("B", 0.4)):
        for clip in range(2):
            result = case("s" * 101, "t" * 101, np.linspace(low + 0.1, low, 101).tolist())
            result.task.name = f"{name}.{clip}"  # type: ignore[misc]
            results.append(result)
    judged, (for_first, for_second) = lost_by_score(results)
    assert for_first == pytest.approx(0.4, abs=0.002)
    assert for_second == pytest.approx(0.8, abs=0.002)
    lost = {r.task.name: np.mean([state is TrackState.LOST for state in r.states]) for r in judged}
    assert lost == {"A.0": 0, "A.1": 0, "B.0": 1, "B.1": 1}


def test_what_a_tracker_itself_called_lost_stays_lost() -> None:
    (result,) = lost_below([case("ssss", "tlxw", [1, 0.9, 0.9, 0.1])], 0.5)
    assert [state is TrackState.LOST for state in result.states] == [False, True, True, True]


def test_the_table_says_never_and_nothing() -> None:
    never = summarise_loss([case("ssss" + AWAY + BACK, "tttt" + "w" * 28)])
    nothing = summarise_loss([case("ssss", "tttt")])
    header, first, second = loss_table([("never", never), ("nothing", nothing)])
    row = dict(zip(header, first, strict=True))
    assert row["frames until LOST, median"] == "never"
    assert row[LOST_WITHIN] == "0.0"
    assert dict(zip(header, second, strict=True))["frames until LOST, 95th percentile"] == "-"
