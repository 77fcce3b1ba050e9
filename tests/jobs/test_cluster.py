"""Work on a Dask cluster: no item lost or given twice, whoever dies; files are sent once and checked."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edge_tracker import Tracker
from edge_tracker.errors import FileError, UsageError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.evaluation.ope import run_tasks
from edge_tracker.jobs import DaskCluster, packed
from edge_tracker.jobs import cluster as cluster_module
from edge_tracker.jobs.cluster import Shipment, shipped
from tests.jobs.conftest import Cluster
from tests.jobs.work import doubled, slow


def test_each_outcome_comes_once_and_errors_are_outcomes(cluster: Cluster) -> None:
    outcomes = dict(DaskCluster(cluster.address).run(doubled, [1, 13, 3]))
    assert isinstance(outcomes.pop(1), ValueError)
    assert outcomes == {0: 2, 2: 6}


def test_a_killed_worker_and_a_restarted_scheduler_cost_no_item(cluster: Cluster, tmp_path: Path) -> None:
    items = [(str(tmp_path), value) for value in range(24)]
    seen: list[int] = []
    given_before: set[int] = set()
    for index, outcome in DaskCluster(cluster.address).run(slow, items):
        assert outcome == index
        seen.append(index)
        if len(seen) == 4:
            cluster.kill(cluster.workers[0])
            cluster.start_worker()
        if len(seen) == 10:
            given_before = set(seen)
            assert cluster.scheduler is not None
            cluster.kill(cluster.scheduler)
            for worker in cluster.workers:
                cluster.kill(worker)
            cluster.start_scheduler()
            cluster.start_worker()
    assert Counter(seen) == Counter(range(24))
    ended = {int(path.stem): len(path.read_text().splitlines()) for path in tmp_path.glob("*.ended")}
    assert all(ended[index] == 1 for index in given_before)  # what was given back is not begun again


def test_evaluation_on_a_cluster_finds_the_same_boxes(cluster: Cluster, otb_folder: Path) -> None:
    tasks = read_tasks(otb_folder)
    make = partial(Tracker, "fast", "edge-small", settings=[])
    alone = {r.task.name: r.boxes for r in run_tasks(make, tasks)}
    remote, shipment = packed(make)
    there = run_tasks(remote, tasks, executor=DaskCluster(cluster.address, shipment))
    together = {r.task.name: r.boxes for r in there}
    assert alone.keys() == together.keys()
    for name in alone:
        np.testing.assert_array_equal(alone[name], together[name])


def test_files_that_were_changed_on_the_way_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shipment = Shipment({"a.onnx": b"model", "a.head": b"head"})
    folder = shipment.unpack()
    from edge_tracker import __version__

    assert shipped(shipment.digest, __version__) == folder
    assert (folder / "a.onnx").read_bytes() == b"model"
    with pytest.raises(UsageError, match=r"0\.0\.0"):
        shipped(shipment.digest, "0.0.0")
    (folder / "a.head").write_bytes(b"other")
    with pytest.raises(FileError, match="SHA-256"):
        shipped(shipment.digest, __version__)
    assert shipment.unpack() == folder
    assert shipped(shipment.digest, __version__) == folder


def test_a_second_worker_leaves_what_the_first_works_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find nothing; the first has put its files there before the second is ready."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shipment = Shipment({"a.onnx": b"model"})
    original = cluster_module._digest_of
    inodes: list[int] = []

    def looked_too_early(folder: Path) -> str | None:
        if not inodes:
            monkeypatch.setattr(cluster_module, "_digest_of", original)
            inodes.append(shipment.unpack().stat().st_ino)
            return None
        return original(folder)

    monkeypatch.setattr(cluster_module, "_digest_of", looked_too_early)
    assert shipment.unpack().stat().st_ino == inodes[0]
    assert [path.name for path in tmp_path.iterdir()] == [f"edge-tracker-{shipment.digest[:16]}"]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address", "http://127.0.0.1:1"])
def test_a_scheduler_that_is_not_there_is_said_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs edge-tracker[cluster]")
    monkeypatch.setattr("edge_tracker.jobs.cluster.CONNECT_S", 1.0)
    with pytest.raises(UsageError, match="scheduler"):
        list(DaskCluster(address).run(doubled, [1]))
