"""Sequences with ground truth, in the layouts of common data sets, recognised by the files in the folder.

`layouts` knows the layouts. This module reads the sequences that are asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edge_tracker.errors import DatasetError, EdgeTrackerError, refused
from edge_tracker.evaluation.layouts import LAYOUTS, Entry
from edge_tracker.evaluation.task import Task

__all__ = ["Task", "find_entries", "is_dataset", "read_tasks", "read_whole_tasks"]


def read_tasks(root: Path, names: Collection[str] | None = None) -> list[Task]:
    """All tasks below `root`, sorted by name. A sequence with several targets gives `Name.1`, `Name.2`, ...

    names: only these tasks (`Name` means all targets of the sequence). Raises DatasetError that names every sequence
    that cannot be read.
    """
    tasks, faults = read_whole_tasks(root, names)
    if faults:
        raise DatasetError(in_one_line(faults))
    return tasks


def read_whole_tasks(root: Path, names: Collection[str] | None = None) -> tuple[list[Task], list[str]]:
    """As `read_tasks`, but sequences that cannot be read are left out; the second value says why, one text each.

    Raises DatasetError if there is no sequence, a name is unknown, or nothing can be read.
    """
    tasks: list[Task] = []
    faults: list[str] = []
    for entry in find_entries(root, names):
        try:
            tasks += [task for task in entry.read() if names is None or _asked(task.name, names)]
        except EdgeTrackerError as error:
            faults.append(str(error))
    if not tasks:
        raise DatasetError(in_one_line(faults) if faults else f"{root} has no target {', '.join(sorted(names or ()))}")
    return sorted(tasks, key=lambda task: task.name), faults


def in_one_line(faults: Collection[str]) -> str:
    """All faults in one line."""
    return "; ".join(faults) if len(faults) < 2 else f"{len(faults)} sequences cannot be read: {'; '.join(faults)}"


def find_entries(root: Path, names: Collection[str] | None = None) -> list[Entry]:
    """The sequences below `root`, not read yet. Raises DatasetError if there are none or one of `names` is unknown."""
    with refused(DatasetError, f"cannot read {root}"):
        if not root.is_dir():
            raise DatasetError(f"no folder at {root}")
        entries = next((found for find in LAYOUTS if (found := find(root))), [])
    if not entries:
        raise DatasetError(
            f"{root} holds no sequence: expected <Name>/img/ and <Name>/groundtruth_rect.txt (OTB), or the layout of "
            "LaSOT, GOT-10k, UAV123, VOT, the MOT challenge or DAVIS"
        )
    if names is None:
        return entries
    known = {entry.name for entry in entries} | {_sequence(entry.name) for entry in entries}
    unknown = sorted(name for name in set(names) if name not in known and _sequence(name) not in known)
    if unknown:
        have = [entry.name for entry in entries]
        more = f" and {len(have) - 30} more" if len(have) > 30 else ""
        raise DatasetError(f"{root} has no sequence {', '.join(unknown)}; it has {', '.join(have[:30])}{more}")
    wanted = {_sequence(name) for name in names}
    return [e for e in entries if _asked(e.name, names) or (e.many and e.name in wanted)]


def is_dataset(root: Path) -> bool:
    """Whether the folder `root` holds sequences in one of the layouts."""
    return root.is_dir() and any(find(root) for find in LAYOUTS)


def _asked(name: str, names: Collection[str]) -> bool:
    return name in names or _sequence(name) in names


def _sequence(name: str) -> str:
    """The sequence of a task: `Name` of `Name.2`."""
    stem, _, number = name.rpartition(".")
    return stem if stem and number.isdecimal() else name
