"""When and how long the classifier is fine-tuned: the dynamic rule (III-E, Table I), spread over frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]


class Learner(Protocol):
    """What fine-tuning needs of what computes; samples are rows of its store."""

    def score_stored(self, places: Places) -> NDArray[np.float32]:
        """How far each is the target's: (m,)."""
        ...

    def step(self, positives: Places, negatives: Places, rate: float) -> float:
        """One step of SGD on these samples; the loss before it."""
        ...


@dataclass(frozen=True)
class Rule:
    """Of one fine-tuning."""

    iterations: int  # at most
    rate: float
    enough: float | None  # l, the loss under which it ends; None: all iterations are done
    batch: tuple[int, int]  # positives and negatives of an iteration
    mined_from: int  # so many negatives: the likeliest are taken
    mine_every: int  # iterations


@dataclass
class Tally:
    """What the rule did: Table I."""

    updates: int = 0
    done: int = 0  # iterations
    saved: int = 0  # iterations that a fixed number of them would have done


class FineTuning:
    """Draws batches, mines hard negatives, ends at the loss threshold. One runs at a time."""

    def __init__(self, learner: Learner, random: np.random.Generator) -> None:
        self._learner, self._random = learner, random
        self._rule: Rule | None = None
        self._done = 0
        self.tally = Tally()
        self.loss = 0.0  # of the last iteration

    @property
    def running(self) -> bool:
        return self._rule is not None

    def begin(self, rule: Rule, positives: Places, negatives: Places) -> None:
        """Start on these samples; what was running is given up."""
        self.give_up()
        self._rule, self._positives, self._negatives, self._done = rule, positives, negatives, 0
        self.tally.updates += 1

    def advance(self, iterations: int) -> None:
        """Do so many iterations, or fewer where it ends."""
        for _ in range(iterations):
            rule = self._rule
            if rule is None:
                return
            if self._done % rule.mine_every == 0:
                self._hard = self._mine(rule)
            self.loss = self._learner.step(self._draw(self._positives, rule.batch[0]), self._hard, rule.rate)
            self._done += 1
            if self._done >= rule.iterations or (rule.enough is not None and self.loss < rule.enough):
                self.tally.saved += rule.iterations - self._done
                self._end()

    def give_up(self) -> None:
        """End what is running."""
        if self._rule is not None:
            self._end()

    def _end(self) -> None:
        self.tally.done += self._done
        self._rule = None

    def _mine(self, rule: Rule) -> Places:
        """The negatives of a pool that look most like the target."""
        pool = self._draw(self._negatives, rule.mined_from)
        order = np.argsort(-self._learner.score_stored(pool), kind="stable")
        return pool[order[: rule.batch[1]]]

    def _draw(self, places: Places, count: int) -> Places:
        if len(places) <= count:
            return places
        return self._random.choice(places, count, replace=False)
