"""The dynamic rule: when a fine-tuning ends, what is counted, what is mined, how it is spread."""

from __future__ import annotations

import numpy as np

from edge_tracker.fsnet.fine_tuning import FineTuning, Rule


class Learner:
    """Says a loss from a list, and that a sample's score is its place."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.steps = losses, []  # type: ignore[var-annotated]

    def score_stored(self, places: np.ndarray) -> np.ndarray:
        return places.astype(np.float32)

    def step(self, positives: np.ndarray, negatives: np.ndarray, rate: float) -> float:
        self.steps.append((positives, negatives, rate))
        return self.losses[len(self.steps) - 1]


def rule(enough: float | None = 0.01, iterations: int = 10, mine_every: int = 5) -> Rule:
    return Rule(iterations, 0.5, enough, (4, 3), 50, mine_every)


def tuning(losses: list[float]) -> tuple[FineTuning, Learner]:
    learner = Learner(losses)
    return FineTuning(learner, np.random.default_rng(0)), learner


PLACES = np.arange(20), np.arange(100, 300)


def test_it_ends_at_the_loss_threshold_and_counts_what_that_saved() -> None:
    losses = [0.5, 0.03, 0.009, 0.5]
    fine, learner = tuning(losses)
    fine.begin(rule(), *PLACES)
    fine.advance(10)
    assert len(learner.steps) == 3
    assert not fine.running
    assert (fine.tally.updates, fine.tally.done, fine.tally.saved) == (1, 3, 7)


def test_without_the_threshold_all_iterations_are_done() -> None:
    fine, learner = tuning([0.0] * 10)
    fine.begin(rule(None), *PLACES)
    fine.advance(100)
    assert len(learner.steps) == 10
    assert (fine.tally.done, fine.tally.saved) == (10, 0)


def test_at_least_one_iteration_is_done_as_in_table_1() -> None:
    fine, _ = tuning([0.001])
    fine.begin(rule(), *PLACES)
    fine.advance(1)
    assert not fine.running
    assert (fine.tally.done, fine.tally.saved) == (1, 9)


def test_it_is_spread_over_frames_and_gives_the_same_as_at_once() -> None:
    spread, slow = tuning([0.5] * 10)
    at_once, quick = tuning([0.5] * 10)
    spread.begin(rule(), *PLACES)
    at_once.begin(rule(), *PLACES)
    at_once.advance(10)
    for frame in range(5):
        assert len(slow.steps) == 2 * frame
        assert spread.running
        spread.advance(2)
    assert not spread.running
    for one, other in zip(slow.steps, quick.steps, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_hard_negatives_are_the_likeliest_of_a_pool_and_mined_again() -> None:
    fine, learner = tuning([0.5] * 10)
    fine.begin(rule(), *PLACES)
    fine.advance(10)
    mined = [tuple(step[1]) for step in learner.steps]
    assert len(set(mined)) == 2
    assert len(set(mined[:5])) == len(set(mined[5:])) == 1
    assert all(len(set(m)) == 3 and np.mean(m) > 280 for m in mined)  # of 50 random ones, the three highest
    assert all(len(step[0]) == 4 and set(step[0]) <= set(range(20)) for step in learner.steps)
    assert len({tuple(step[0]) for step in learner.steps}) > 5
    assert all(step[2] == 0.5 for step in learner.steps)


def test_what_is_given_up_counts_as_done_but_saves_nothing() -> None:
    fine, learner = tuning([0.5] * 20)
    fine.begin(rule(), *PLACES)
    fine.advance(4)
    fine.begin(rule(), *PLACES)
    fine.advance(2)
    fine.give_up()
    fine.give_up()
    fine.advance(5)
    assert len(learner.steps) == 6
    assert (fine.tally.updates, fine.tally.done, fine.tally.saved) == (2, 6, 0)


def test_fewer_samples_than_a_batch_are_all_taken() -> None:
    fine, learner = tuning([0.5])
    fine.begin(rule(iterations=1), np.arange(2), np.arange(2))
    fine.advance(1)
    assert sorted(learner.steps[0][0]) == [0, 1]
    assert sorted(learner.steps[0][1]) == [0, 1]
