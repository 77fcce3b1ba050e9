"""Work in this process and in others: each outcome once, and a death costs one item no more than a second try."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_tracker.jobs import Executor, Here, Processes, WorkerDied
from tests.conftest import ROOT
from tests.jobs.work import always_killed, doubled, endless, killed_once


@pytest.mark.parametrize("executor", [Here(), Processes(2)], ids=["here", "processes"])
def test_each_outcome_comes_once_and_errors_are_outcomes(executor: Executor) -> None:
    outcomes = sorted(executor.run(doubled, [1, 13, 3]), key=lambda pair: pair[0])
    assert outcomes[0] == (0, 2)
    assert outcomes[2] == (2, 6)
    assert outcomes[1][0] == 1
    assert isinstance(outcomes[1][1], ValueError)


@pytest.mark.parametrize("executor", [Here(), Processes(2)], ids=["here", "processes"])
def test_no_items_no_outcomes(executor: Executor) -> None:
    assert list(executor.run(doubled, [])) == []


def test_an_item_whose_worker_is_killed_is_begun_anew_and_no_other(tmp_path: Path) -> None:
    items = [(str(tmp_path), value) for value in range(8)]
    outcomes = dict(Processes(2).run(killed_once, items))
    assert outcomes == {value: value for value in range(8)}
    begun = {path.stem: len(path.read_text()) for path in tmp_path.glob("*.begun")}
    assert begun == {str(value): 2 if value == 3 else 1 for value in range(8)}


def test_an_item_that_kills_every_worker_is_given_up_and_the_others_are_done() -> None:
    outcomes = dict(Processes(2).run(always_killed, [0, 1, 2, 3]))
    assert (outcomes[0], outcomes[3]) == (0, 3)
    assert isinstance(outcomes[1], WorkerDied)
    assert isinstance(outcomes[2], WorkerDied)


def test_what_is_given_up_ends_at_once(tmp_path: Path) -> None:
    outcomes = Processes(2).run(endless, [(str(tmp_path), 0), (str(tmp_path), 1)])
    assert next(outcomes) == (0, 0)
    deadline = time.monotonic() + 60
    while not (marks := list(tmp_path.glob("*.at work"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    (mark,) = marks
    outcomes.close()  # type: ignore[attr-defined] # a generator's
    while Path(f"/proc/{mark.stem}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{mark.stem}").exists()


def test_no_process_outlives_a_parent_that_is_killed() -> None:
    code = (
        "import multiprocessing as m, os, sys\n"
        "from edge_tracker.jobs.local import _fresh_process\n"
        "if __name__ == '__main__':\n"
        "    leash, end = m.Pipe(duplex=False)\n"
        "    print(_fresh_process(leash).submit(os.getpid).result(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    script = ["-c", code]
    parent = subprocess.Popen([sys.executable, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} is still there")
