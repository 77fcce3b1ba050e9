"""Pieces of work that other processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def doubled(value: int) -> int:
    if value == 13:
        raise ValueError("thirteen")
    return 2 * value


def killed_once(item: tuple[str, int]) -> int:
    """The first process that gets item 3 is killed by the system, as one that runs out of memory is."""
    folder, value = item
    with open(Path(folder) / f"{value}.begun", "a") as file:
        file.write("x")
    if value == 3 and not (Path(folder) / "dead").exists():
        (Path(folder) / "dead").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return value


def always_killed(value: int) -> int:
    if value == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if value == 2:
        raise SystemExit(3)
    return value


def slow(item: tuple[str, int]) -> int:
    folder, value = item
    time.sleep(0.3)
    with open(Path(folder) / f"{value}.ended", "a") as file:
        file.write(f"{os.getpid()}\n")
    return value


def endless(item: tuple[str, int]) -> int:
    """Item 0 is done at once; another says who is at it, and does not end."""
    folder, value = item
    if value:
        (Path(folder) / f"{os.getpid()}.at work").touch()
        time.sleep(600)
    return value
