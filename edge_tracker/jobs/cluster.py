"""Work on many machines by way of Dask distributed, whose scheduler and workers somebody else runs.

    dask scheduler                          on one machine
    dask worker tcp://scheduler:8786        on each machine, in an environment that has this package

What this adds: files that the work needs are sent to each worker once and checked there; a scheduler that goes away is
waited for, and what it had not given back is begun anew on the one that comes.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_tracker import __version__
from edge_tracker.errors import FileError, TransientError, UsageError, first_line
from edge_tracker.jobs.local import WorkerDied

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

CONNECT_S = 10.0  # for the first connection: a wrong address should be told soon
AWAY_S = 600.0  # so long a scheduler that has gone away is waited for
AHEAD = 1000  # items with the scheduler at a time: a hundred thousand at once would be its memory, not ours

log = logging.getLogger(__name__)


class ClusterLost(TransientError):
    """The scheduler has gone away and did not come back."""


class Shipment:
    """Files that the work needs, by name; known by the SHA-256 of their names and content."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(sorted(files.items()))
        digest = hashlib.sha256()
        for name, content in self.files.items():
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        self.digest = digest.hexdigest()

    def unpack(self) -> Path:
        """Write the files on this machine, in a folder called after them, whole or not at all; returns it."""
        folder = _folder(self.digest)
        if _digest_of(folder) == self.digest:
            return folder
        aside = Path(tempfile.mkdtemp(prefix="edge-tracker-"))
        for name, content in self.files.items():
            (aside / name).write_bytes(content)
        # Another worker of this machine may have been quicker, and be at work with what it has put there: only what is
        # damaged is moved out of the way.
        if not _renamed(aside, folder):
            if _digest_of(folder) != self.digest:
                _renamed(folder, aside.with_name(f"{aside.name}.damaged"))
                _renamed(aside, folder)
            shutil.rmtree(aside.with_name(f"{aside.name}.damaged"), ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)
        return folder


def _renamed(source: Path, target: Path) -> bool:
    """Move a folder to where none is."""
    try:
        source.rename(target)
    except OSError:
        return False
    return True


def shipped(digest: str, version: str) -> Path:
    """On a worker: the folder with the files of the shipment, checked. Raises FileError or UsageError."""
    if version != __version__:
        raise UsageError(f"this worker has edge-tracker {__version__}, the work is of {version}: install the same")
    folder = _folder(digest)
    if _digest_of(folder) != digest:
        raise FileError(f"{folder} does not hold the files that were sent: SHA-256 differs")
    return folder


def _folder(digest: str) -> Path:
    return Path(tempfile.gettempdir()) / f"edge-tracker-{digest[:16]}"


def _digest_of(folder: Path) -> str | None:
    if not folder.is_dir():
        return None
    return Shipment({path.name: path.read_bytes() for path in folder.iterdir()}).digest


class DaskCluster:
    """An executor on the workers of a Dask scheduler. Raises UsageError where Dask or the scheduler is missing."""

    def __init__(self, address: str, shipment: Shipment | None = None, away_s: float = AWAY_S) -> None:
        self.address, self.shipment, self.away_s = address, shipment, away_s
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise UsageError("--cluster needs Dask: pip install 'edge-tracker[cluster]'") from error

    def run(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Exception]]:
        waiting = list(range(len(items)))[::-1]
        client = self._connect(CONNECT_S)
        try:
            while True:
                yield from self._until_it_breaks(client, work, items, waiting)
                if not waiting:
                    return
                log.warning("the scheduler at %s has gone away: waiting for it", self.address)
                client.close(timeout=1)
                client = self._connect(self.away_s)
        finally:
            client.close(timeout=1)

    def _until_it_breaks(
        self, client: Client, work: Callable[[T], R], items: Sequence[T], waiting: list[int]
    ) -> Iterator[tuple[int, R | Exception]]:
        """Outcomes, till all are given or the scheduler is lost; what was not given is in `waiting` again."""
        from distributed import Future, KilledWorker, as_completed

        given: dict[Future, int] = {}

        def hand_over() -> Iterator[Future]:
            while waiting and len(given) < AHEAD:
                index = waiting.pop()
                future = client.submit(work, items[index], pure=False, retries=0)
                given[future] = index
                yield future

        ready = as_completed(list(hand_over()), loop=client.loop)
        try:
            for future in ready:
                if future.status == "cancelled":  # so the client ends all of them when the scheduler is gone
                    return
                outcome: Any
                try:
                    outcome = future.result(timeout=self.away_s)
                except KilledWorker:
                    outcome = WorkerDied("its worker died, again and again")
                except (CancelledError, TimeoutError, OSError) as error:
                    if future.status != "error" or isinstance(error, CancelledError):
                        return
                    outcome = error
                except Exception as error:
                    outcome = error
                index = given.pop(future)
                yield index, outcome
                for more in hand_over():
                    ready.add(more)
        finally:
            waiting.extend(sorted(given.values(), reverse=True))
            given.clear()

    def _connect(self, patience_s: float) -> Client:
        """A client of the scheduler, its workers provided with the files. Raises UsageError or ClusterLost."""
        from distributed import Client

        end = time.monotonic() + patience_s
        while True:
            try:
                client = Client(self.address, timeout=min(patience_s, CONNECT_S), set_as_default=False)
                if self.shipment is not None:
                    client.register_plugin(_unpacker(self.shipment))
                return client
            except ValueError as error:
                raise UsageError(
                    f"--cluster takes the scheduler's address, tcp://HOST:8786: {first_line(error)}"
                ) from error
            except (OSError, TimeoutError) as error:
                if time.monotonic() >= end:
                    kind = UsageError if patience_s == CONNECT_S else ClusterLost
                    raise kind(f"no scheduler answers at {self.address}: {first_line(error)}") from error
                time.sleep(0.5)


def _unpacker(shipment: Shipment) -> Any:
    """What Dask runs on every worker when it joins."""
    from distributed import WorkerPlugin

    class Unpacker(WorkerPlugin):  # type: ignore[misc]
        name = f"edge-tracker-{shipment.digest[:16]}"
        idempotent = True

        def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask's own
            shipment.unpack()

    return Unpacker()
