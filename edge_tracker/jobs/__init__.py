"""Many independent pieces of work: here, in processes of this machine, or on a cluster of machines."""

from edge_tracker.jobs.cluster import DaskCluster
from edge_tracker.jobs.local import Executor, Here, Processes, WorkerDied
from edge_tracker.jobs.shipping import packed

__all__ = ["DaskCluster", "Executor", "Here", "Processes", "WorkerDied", "packed"]
