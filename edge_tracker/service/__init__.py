"""The run loop: source -> tracker -> outputs."""

from edge_tracker.service.run import RunSummary, run

__all__ = ["RunSummary", "run"]
