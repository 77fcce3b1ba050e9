"""One BLAS thread while trackers compute, whoever they are, and the embedding program's own setting afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import threadpoolctl
from numpy.typing import NDArray

from edge_tracker import Tracker
from edge_tracker.methods import prepare
from edge_tracker.threads import one_thread
from edge_tracker.video.synthetic import WHOLE
from tests.conftest import ROOT, Clip

MODEL = "edge-small"


def blas() -> list[int]:
    """Threads of each BLAS in the process."""
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    return [library.num_threads for library in libraries]


def in_a_thread(work: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=60)


@pytest.fixture
def _several_threads() -> object:
    """A program that has BLAS and OpenCV use several threads."""
    if not blas():
        pytest.skip("threadpoolctl knows no BLAS here")
    before, opencv = blas(), cv2.getNumThreads()
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    set_all(libraries, 2)
    cv2.setNumThreads(2)
    if max(blas()) < 2:
        set_all(libraries, before[0])
        pytest.skip("this BLAS has one thread and takes no more")
    yield
    set_all(libraries, before[0])
    cv2.setNumThreads(opencv)


def set_all(libraries: list[object], threads: int) -> None:
    for library in libraries:
        if hasattr(library, "clear_controlling_thread"):  # threadpoolctl 3.8: only the first thread may set it
            library.clear_controlling_thread(force=True)
        library.set_num_threads(threads)  # type: ignore[attr-defined]
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@pytest.mark.usefixtures("_several_threads")
def test_inside_there_is_one_thread_and_outside_what_there_was() -> None:
    outside = blas(), cv2.getNumThreads()
    with one_thread():
        assert set(blas()) == {1}
        assert cv2.getNumThreads() == 1
        with one_thread():
            assert set(blas()) == {1}
        assert set(blas()) == {1}
    assert (blas(), cv2.getNumThreads()) == outside


@pytest.mark.usefixtures("_several_threads")
def test_it_holds_in_any_thread_after_the_main_thread_has_set_a_limit() -> None:
    """threadpoolctl 3.8 refuses the second thread that sets one, without a word."""
    with one_thread():
        pass

    def inside() -> list[int]:
        with one_thread():
            return blas()

    assert set(in_a_thread(inside)) == {1}  # type: ignore[call-overload]
    with one_thread():
        assert set(blas()) == {1}
    assert max(blas()) == 2


@pytest.mark.usefixtures("_several_threads")
def test_the_last_one_out_restores_whoever_came_first() -> None:
    """A enters, B enters, A leaves: B still computes with one thread. B leaves: what there was is back."""
    outside = blas(), cv2.getNumThreads()
    entered, leave, seen = threading.Event(), threading.Event(), []

    def second() -> None:
        with one_thread():
            entered.set()
            leave.wait(30)
            seen.append((blas(), cv2.getNumThreads()))

    thread = threading.Thread(target=second)
    with one_thread():
        thread.start()
        assert entered.wait(30)
    assert set(blas()) == {1}
    leave.set()
    thread.join(30)
    (inside,) = seen
    assert (set(inside[0]), inside[1]) == ({1}, 1)
    assert (blas(), cv2.getNumThreads()) == outside


@pytest.mark.usefixtures("_several_threads")
def test_an_error_inside_restores_too() -> None:
    outside = blas(), cv2.getNumThreads()
    with pytest.raises(RuntimeError), one_thread():
        raise RuntimeError
    assert (blas(), cv2.getNumThreads()) == outside


def boxes(tracker: Tracker, clip: Clip, start: int, frames: int = 20) -> NDArray[np.float64]:
    tracker.init(clip.images[start], tuple(clip.boxes[start]))
    return np.array([tracker.update(image).box for image in clip.images[start + 1 : start + frames]])


@pytest.mark.usefixtures("_several_threads")
def test_trackers_in_several_threads_give_the_boxes_they_give_alone(clip: Clip) -> None:
    outside = blas(), cv2.getNumThreads()
    kinds = [("accurate", 0), ("fast", 20), ("fmst", 40), ("accurate", 60)]
    alone = [boxes(Tracker(kind, MODEL), clip, start) for kind, start in kinds]
    together = threading.Barrier(len(kinds))

    def work(kind: str, start: int) -> NDArray[np.float64]:
        tracker = Tracker(kind, MODEL)
        together.wait(60)
        return boxes(tracker, clip, start)

    with ThreadPoolExecutor(len(kinds)) as pool:
        found = list(pool.map(work, *zip(*kinds, strict=True)))
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (blas(), cv2.getNumThreads()) == outside


def test_targets_of_one_prepared_give_the_boxes_they_give_alone(clip: Clip) -> None:
    """They share a session and a head, and nothing that one of them changes."""
    starts = (0, 30)
    prepared = prepare("accurate", MODEL)
    alone = [boxes(Tracker("accurate", MODEL), clip, start, 12) for start in starts]
    targets = [Tracker.on(prepared) for _ in starts]
    for target, start in zip(targets, starts, strict=True):
        target.init(clip.images[start], tuple(clip.boxes[start]))
    found: list[list[object]] = [[], []]
    for step in range(1, 12):  # in turn
        for target, start, said in zip(targets, starts, found, strict=True):
            said.append(target.update(clip.images[start + step]).box)
    np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("preset", ["accurate", "fast"])
def test_threads_and_seed_over_300_frames(preset: str, whole_clip: Clip) -> None:
    """Two threads of the engine change no bit, another seed does. The clip has an absence in it."""
    found = []
    for threads, seed, frames in ((1, 3, WHOLE), (2, 3, WHOLE), (1, 4, 20)):
        tracker = Tracker(preset, MODEL, seed=seed, threads=threads)
        found.append(boxes(tracker, whole_clip, 0, frames))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0][: len(found[2])], found[2])


BOXES = """
import sys
import numpy as np
from edge_tracker import Tracker
from edge_tracker.video.synthetic import SyntheticClip
for name in ("accurate", "fast"):
    tracker = Tracker(name, "edge-small")
    for index, (image, box) in enumerate(SyntheticClip(30)):
        if index == 0:
            tracker.init(image, box)
        else:
            print(*(value.hex() for value in tracker.update(image).box))
"""


def test_boxes_do_not_depend_on_how_many_threads_blas_was_given() -> None:
    printed = set()
    for threads in (None, "1", "4"):
        environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
        environment["PYTHONPATH"] = str(ROOT)
        if threads:
            environment |= {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", BOXES], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 2 * 29
        printed.add(done.stdout)
    assert len(printed) == 1
