"""From sources to outputs: the run loop, targets and what chooses them, configuration, cameras in one process, lists of
clips."""

from edge_tracker.service.run import RunSummary, run

__all__ = ["RunSummary", "run"]
