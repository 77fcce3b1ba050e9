"""What the scripts share: the OTB2013 tasks at hand, and means with spread over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_tracker.evaluation.metrics import mean_curves
from edge_tracker.evaluation.ope import MakeTracker, TaskResult, run_tasks
from edge_tracker.evaluation.otb import Task

# Of the 51 tasks of OTB2013 ("VTB13" in the FMST paper), by their benchmark names.
OTB2013 = frozenset(
    "Basketball Bolt Boy Car4 CarDark CarScale Coke Couple Crossing David David2 David3 Deer Dog1 Doll Dudek FaceOcc1 "
    "FaceOcc2 Fish FleetFace Football Football1 Freeman1 Freeman3 Freeman4 Girl Ironman Jogging.1 Jogging.2 Jumping "
    "Lemming Liquor Matrix Mhyang MotorRolling MountainBike Shaking Singer1 Singer2 Skating1 Skiing Soccer Subway "
    "Suv Sylvester Tiger1 Tiger2 Trellis Walking Walking2 Woman".split()
)


def over_seeds(
    make: Callable[[int], MakeTracker],
    tasks: Sequence[Task],
    seeds: int,
    jobs: int,
    on_task: Callable[[TaskResult], object] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and success in % of each seed: (seeds,), (seeds,). `make(seed)` gives what makes the tracker."""
    scores = []
    for seed in range(seeds):
        results = []
        for result in run_tasks(make(seed), tasks, jobs):
            results.append(result.curves)
            if on_task is not None:
                on_task(result)
        mean = mean_curves(results)
        scores.append((100 * mean.precision_score, 100 * mean.success_score))
    precision, success = np.array(scores).T
    return precision, success


def spread(values: np.ndarray) -> str:
    """ "78.1 ± 0.6": mean and standard deviation over seeds."""
    return f"{values.mean():.1f} ± {values.std():.1f}"
