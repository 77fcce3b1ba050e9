"""One camera's loop: requests from other threads, outputs that fail, what it keeps, and its end."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tracker.boxes import Box, centre
from edge_tracker.errors import EdgeTrackerError, OutputError, OutputLost, TransientError, UsageError
from edge_tracker.methods import Prepared, prepare
from edge_tracker.outputs.records import JsonLinesOutput
from edge_tracker.outputs.status import Status
from edge_tracker.service.requests import Requests
from edge_tracker.service.state import Remembered
from edge_tracker.service.targets import Targets
from edge_tracker.service.watch import Watch, WatchSettings
from edge_tracker.track import Track, TrackState
from edge_tracker.video.latest import LatestSource, LiveSettings
from edge_tracker.video.source import Frame, Source
from tests.service.scenes import BLUE, RED, Image, box_at, scene
from tests.service.servers import wait_until


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare("fast")


class Film(Source):
    """Frames of our own, in memory; live ones at `fps` for ever, others once."""

    name = "film"

    def __init__(self, images: Sequence[Image], live: bool = False, fps: float = 25.0) -> None:
        self._images, self.live, self.fps = images, live, fps
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self.closed and (self.live or index < len(self._images)):
            yield Frame(
                index, index / self.fps, self._images[index % len(self._images)], time.time() if self.live else None
            )
            index += 1
            if self.live:
                time.sleep(1 / self.fps)

    def close(self) -> None:
        self.closed = True


class Notes:
    """An output that keeps what it is given, and fails as told."""

    def __init__(self, fail: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.frames: list[Frame] = []
        self.tracks: list[list[Track]] = []
        self.reports: list[Status] = []
        self.closed: list[bool] = []
        self._fail = fail
        self.writes = 0

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        self.writes += 1
        error = self._fail(self.writes)
        if error is not None:
            raise error
        self.frames.append(frame)
        self.tracks.append(list(tracks))

    def report(self, status: Status, tracks: Sequence[Track]) -> None:
        self.reports.append(status)

    def close(self, complete: bool) -> None:
        self.closed.append(complete)


def live(images: Sequence[Image], **settings: Any) -> LatestSource:
    return LatestSource(lambda: Film(images, live=True), "film", LiveSettings(**settings))


class Running:
    """A watch in a thread of its own."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.watch.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Watch:
        self._thread.start()
        return self.watch

    def __exit__(self, *_: object) -> None:
        self.watch.stop()
        self._thread.join(15)
        assert not self._thread.is_alive()


STILL = [scene([(RED, 60, 80), (BLUE, 200, 160)], noise=k) for k in range(4)]


def test_targets_are_asked_for_from_other_threads(prepared: Prepared) -> None:
    notes = Notes()
    watch = Watch("c", live(STILL), Targets(prepared), {"notes": notes})
    with Running(watch):
        wait_until(lambda: notes.frames, 5, "a frame")
        assert watch.add(box_at(60, 80)) == "target 1"
        assert watch.add(box_at(200, 160), "blue") == "blue"
        wait_until(lambda: notes.tracks and len(notes.tracks[-1]) == 2, 3, "two tracks")
        watch.rename("target 1", "red")
        watch.move("blue", (100, 20, 30, 30))
        with pytest.raises(UsageError, match="no target"):
            watch.drop("nobody")
        watch.drop("blue")
        wait_until(lambda: [t.target for t in notes.tracks[-1]] == ["red"], 3, "one track")
    assert notes.closed == [True]
    with pytest.raises(EdgeTrackerError):
        watch.ask(lambda image: None)


def test_a_box_on_an_older_picture_is_caught_up_with(prepared: Prepared) -> None:
    images = [scene([(RED, 60 + 6 * k, 80)], noise=k) for k in range(15)]
    notes = Notes()
    watch = Watch("c", live(images[-1:]), Targets(prepared), {"notes": notes})
    with Running(watch):
        wait_until(lambda: notes.frames, 5, "a frame")
        watch.add(box_at(60, 80), seen=images)
        wait_until(lambda: notes.tracks[-1], 3, "a track")
        x, y = centre(notes.tracks[-1][0].box)
    assert np.hypot(x - (60 + 6 * 14), y - 80) < 6


@pytest.mark.parametrize("error", [OutputError("disk full"), OutputLost("broker away"), KeyError("in a library")])
def test_an_output_that_fails_stops_neither_tracking_nor_others(
    prepared: Prepared, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = Notes(), Notes(lambda count: error if 3 <= count <= 12 else None)
    watch = Watch("c", live(STILL), Targets(prepared), {"good": good, "bad": bad}, first=[(None, box_at(60, 80))])
    with Running(watch):
        wait_until(lambda: bad.writes > 20, 10, "twenty frames")
    assert watch.status().output_errors == {"good": 0, "bad": 10}
    assert len(good.frames) == bad.writes
    assert len(bad.frames) == bad.writes - 10
    said = [record.message for record in caplog.records if "bad" in record.message or str(error) in record.message]
    assert len(said) == 2  # once when it fails, once when it is back
    assert good.closed == bad.closed == [True]


class Stuck(Film):
    """A driver that hangs when it is closed."""

    def close(self) -> None:
        self.let_go.wait(30)
        super().close()

    let_go = threading.Event()


def test_files_are_whole_before_a_source_that_hangs_is_waited_for(prepared: Prepared) -> None:
    notes, source = Notes(), Stuck(STILL, live=True)
    watch = Watch("c", source, Targets(prepared), {"notes": notes})
    thread = threading.Thread(target=watch.run)
    thread.start()
    wait_until(lambda: notes.frames, 15, "a frame")
    watch.stop()
    wait_until(lambda: notes.closed == [True], 5, "the end of the file")
    assert thread.is_alive()
    source.let_go.set()
    thread.join(15)


def test_who_gave_up_while_another_was_served_is_not_served() -> None:
    requests = Requests("c")
    served: list[Image] = []
    waiting = [threading.Thread(target=lambda: requests.ask(lambda _: time.sleep(1.0)))]

    def impatient() -> None:
        with pytest.raises(TransientError, match="busy"):
            requests.ask(served.append, timeout_s=0.6)

    waiting.append(threading.Thread(target=impatient))
    for thread in waiting:
        thread.start()
        time.sleep(0.1)
    requests.answer(STILL[0])
    for thread in waiting:
        thread.join()
    assert served == []


def test_the_end_comes_whoever_gave_up_waiting_for_an_answer(prepared: Prepared) -> None:
    notes = Notes()
    watch = Watch("c", Film(STILL), Targets(prepared), {"notes": notes})
    with pytest.raises(TransientError, match="busy"):
        watch._requests.ask(lambda _: None, timeout_s=0.01)
    watch.abandon()
    assert notes.closed == [False]
    start = time.monotonic()
    with pytest.raises(EdgeTrackerError, match="has ended"):
        watch.drop("x")
    assert time.monotonic() - start < 5


def test_of_a_file_nothing_may_be_lost(prepared: Prepared) -> None:
    bad = Notes(lambda count: OutputError("disk full") if count == 3 else None)
    film = Film(STILL * 3)
    watch = Watch("c", film, Targets(prepared), {"bad": bad}, first=[("a", box_at(60, 80))])
    with pytest.raises(OutputError, match="disk full"):
        watch.run()
    assert bad.closed == [False]
    assert film.closed


def test_a_file_runs_to_its_end_with_several_targets(prepared: Prepared, tmp_path: Path) -> None:
    images = [scene([(RED, 60 + 2 * k, 80), (BLUE, 200, 160)], noise=k) for k in range(20)]
    path = tmp_path / "tracks.jsonl"
    first = [("red", box_at(60, 80)), (None, box_at(200, 160))]
    watch = Watch("c", Film(images), Targets(prepared), {"o": JsonLinesOutput(path)}, first=first)
    summary = watch.run()
    assert summary.frames == 20
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(records) == 40
    assert {record["target"] for record in records} == {"red", "target 2"}
    assert [record["index"] for record in records if record["target"] == "red"] == list(range(20))
    assert watch.ended


def test_a_file_waits_on_its_first_frame_and_keeps_its_pace(prepared: Prepared) -> None:
    notes = Notes()
    watch = Watch("c", Film(STILL * 3), Targets(prepared), {"page": notes}, hold=True)
    running = Running(watch)
    with running:
        wait_until(lambda: len(notes.frames) > 5, 5, "the first frame, again and again")
        assert {frame.index for frame in notes.frames} == {0}
        assert notes.reports[-1].source_state == "waiting"
        start = time.monotonic()
        watch.add(box_at(60, 80))
        wait_until(lambda: watch.ended, 5, "the end")
        assert time.monotonic() - start > 0.35  # 12 frames at 25 a second
    assert notes.frames[-1].index == 11
    assert running.error is None


def test_reports_come_with_frames_and_without(prepared: Prepared) -> None:
    notes = Notes()
    gone = threading.Event()

    class Leaving(Film):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                if gone.is_set():
                    return
                yield frame

    source = LatestSource(lambda: Leaving(STILL, live=True), "film", LiveSettings(first_wait_s=20))
    watch = Watch("c", source, Targets(prepared), {"n": notes}, settings=WatchSettings(report_every_s=0.1))
    with Running(watch):
        wait_until(lambda: any(r.source_state == "live" and r.updates_per_s > 10 for r in notes.reports), 5, "live")
        assert notes.reports[-1].latency_s is not None
        assert notes.reports[-1].latency_s < 0.5
        gone.set()
        wait_until(lambda: notes.reports[-1].source_state == "away", 5, "away")
        told = len(notes.reports)
        wait_until(lambda: len(notes.reports) > told, 5, "another report")
        assert watch.add(box_at(60, 80))  # on the last picture there is


class OnceAndNever:
    """A chooser that finds one box at the third frame."""

    def __init__(self) -> None:
        self.calls, self.closed = 0, False

    def propose(self, frame: Frame, tracks: Sequence[Track]) -> list[tuple[Image, Box]]:
        self.calls += 1
        return [(frame.image, box_at(60, 80))] if self.calls in (3, 4) else []

    def close(self) -> None:
        self.closed = True


def test_what_a_chooser_found_is_dropped_when_it_is_long_lost(prepared: Prepared) -> None:
    images = [scene([(RED, 60, 80)], noise=k) for k in range(20)]
    images += [scene([], noise=k) for k in range(120)]
    notes, chooser = Notes(), OnceAndNever()
    settings = WatchSettings(drop_lost_after_s=1.0)
    watch = Watch("c", Film(images), Targets(prepared), {"n": notes}, chooser=chooser, settings=settings)
    watch.run()
    counts = [len(tracks) for tracks in notes.tracks]
    assert counts[:2] == [0, 0]
    assert max(counts) == 1  # the same box again is the same target
    assert counts[10] == 1
    assert counts[-1] == 0
    lost = sum(tracks[0].state is TrackState.LOST for tracks in notes.tracks if tracks)
    assert 24 <= lost <= 27  # frames of a second
    assert chooser.closed


def test_whom_a_person_chose_again_is_not_dropped(prepared: Prepared) -> None:
    images = [scene([(RED, 60, 80)], noise=k) for k in range(5)]
    notes = Notes()
    source = live(images)
    settings = WatchSettings(drop_lost_after_s=0.2)
    watch = Watch("c", source, Targets(prepared), {"n": notes}, chooser=OnceAndNever(), settings=settings)
    with Running(watch):
        wait_until(lambda: notes.tracks and notes.tracks[-1], 5, "a track")
        watch.rename("target 1", "mine")
        watch.ask(lambda _: setattr(source, "_opener", lambda: Film([scene([])], live=True)))
        watch.ask(lambda _: setattr(source._reader, "wanted", False))
        wait_until(lambda: notes.tracks[-1] and notes.tracks[-1][0].state is TrackState.LOST, 10, "LOST")
        time.sleep(0.6)
        assert [t.target for t in notes.tracks[-1]] == ["mine"]


# Kept across restarts


def kept_by(prepared: Prepared, path: Path) -> None:
    """A run that follows two targets and ends."""
    first = [("red", box_at(60, 80)), ("blue", box_at(200, 160))]
    watch = Watch("front", live(STILL), Targets(prepared), {}, first=first, remembered=Remembered(path))
    with Running(watch):
        wait_until(lambda: watch.status().updates > 5, 5, "some frames")


def test_targets_come_back_where_they_are_seen_and_wait_where_not(prepared: Prepared, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    kept_by(prepared, path)
    moved = [scene([(RED, 230, 60)], noise=k) for k in range(4)]  # red has moved, blue is away
    remembered = Remembered(path)
    notes = Notes()
    watch = Watch("front", live(moved), Targets(prepared), {"n": notes}, remembered=remembered)
    with Running(watch):
        wait_until(lambda: notes.tracks and notes.tracks[-1], 5, "a track")
        assert [track.target for track in notes.tracks[-1]] == ["red"]
        x, y = centre(notes.tracks[-1][0].box)
        assert np.hypot(x - 230, y - 60) < 8
        assert remembered.waiting("front") == ["blue"]
    kept = json.loads(path.read_text())["cameras"]["front"]
    assert {each["name"] for each in kept} == {"red", "blue"}  # blue is still waited for next time
    again = Watch("front", live(STILL), Targets(prepared), {"n": notes}, remembered=Remembered(path))
    with Running(again):
        wait_until(lambda: len(again.targets.names) == 2, 5, "both")


def test_a_made_up_name_is_not_one_that_is_given(prepared: Prepared) -> None:
    first = [("target 2", box_at(60, 80)), (None, box_at(200, 160))]
    watch = Watch("front", live(STILL), Targets(prepared), {}, first=first)
    with Running(watch):
        wait_until(lambda: len(watch.targets.names) == 2, 5, "both")
        assert "target 2" in watch.targets.names


@pytest.mark.parametrize("named", [True, False])
def test_after_a_restart_a_target_is_not_started_where_it_once_was(
    named: bool, prepared: Prepared, tmp_path: Path
) -> None:
    """A service is started again with the command it was started with."""
    path = tmp_path / "state.json"
    first = [("red" if named else None, box_at(60, 80)), (None, box_at(200, 160))]
    for pictures in (STILL, [scene([(RED, 230, 60)], noise=k) for k in range(4)]):
        notes, remembered = Notes(), Remembered(path)
        watch = Watch("front", live(pictures), Targets(prepared), {"n": notes}, first=first, remembered=remembered)
        with Running(watch):
            wait_until(lambda n=notes: n.tracks and n.tracks[-1], 5, "a track")  # type: ignore[misc]
            wait_until(lambda w=watch: w.status().updates > 5, 5, "some frames")  # type: ignore[misc]
    assert [track.target for track in notes.tracks[-1]] == ["red" if named else "target 1"]
    x, y = centre(notes.tracks[-1][0].box)
    assert np.hypot(x - 230, y - 60) < 8
    assert remembered.waiting("front") == ["target 2"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\0" * 4096,
        '{\n "cam\0\0\0\0',
        '{"cameras": ' + "[" * 100_000,
        '{"cameras": 5}',
        '{"cameras": {"fr\udcff": []}}',
        '{"cameras": {"front": [{"name": "x"}]}}',
        '{"cameras": {"front": [{"name": "", "box": [1, 2, 3, 4], "size": [9, 9], "picture": ""}]}}',
        '{"cameras": {"front": [{"name": "x", "box": [1, 2, 0, 4], "size": [9, 9], "picture": ""}]}}',
        '{"cameras": {"front": [{"name": "x", "box": [1, 2, 3, 4], "size": [0, 9], "picture": ""}]}}',
        '{"cameras": {"front": [{"name": "x", "box": [1, 2, 1e-9, 4], "size": [9, 9], "picture": ""}]}}',
        '{"cameras": {"front": [{"name": "x", "box": [1, 2, 5, 5], "size": [1, 9], "picture": ""}]}}',
        '{"cameras": {"front": [{"name": "x", "box": [1e999, 2, 3, 4], "size": [9, 9], "picture": ""}]}}',
    ],
)
def test_a_broken_state_is_set_aside_with_a_word(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.json"
    path.write_text(text, errors="surrogateescape")
    assert Remembered(path).waiting("front") == []
    assert "set aside" in caplog.text
    assert not path.exists()
    assert len(list(tmp_path.glob("state.json.*.broken"))) == 1


@pytest.mark.parametrize(
    "text", ["notes", "[]", '{"camera": 1}', '{"cameras": {}}' + " " * (1 << 20), "\0" * 4096 + "x", "\0" * (2 << 20)]
)
def test_what_was_never_a_state_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(OutputError, match="not a state: it is left as it is"):
        Remembered(path)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_a_state_that_is_no_file_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state.json"
    if kind == "folder":
        path.mkdir()
        (path / "kept").touch()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="cannot keep the state"):
        Remembered(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_state_that_the_disk_does_not_give_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"cameras": {}}')

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(OutputError, match="cannot read the state .*Input/output error"):
        Remembered(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("picture", ["", "!!!", "aGFsbG8="])
def test_a_state_without_a_picture_starts_nothing(prepared: Prepared, tmp_path: Path, picture: str) -> None:
    path = tmp_path / "state.json"
    kept = {"name": "x", "box": [1, 2, 30, 40], "size": [320, 240], "picture": picture}
    path.write_text(json.dumps({"cameras": {"front": [kept]}}))
    targets = Targets(prepared)
    assert not Remembered(path).restore("front", Frame(0, 0.0, STILL[0]), targets)
    assert targets.names == []


def test_a_state_that_cannot_be_written_is_told_once(prepared: Prepared, tmp_path: Path, caplog: Any) -> None:
    folder = tmp_path / "gone"
    remembered = Remembered(folder / "state.json")
    targets = Targets(prepared)
    targets.add(STILL[0], box_at(60, 80), "red")
    for _ in range(3):
        remembered.keep("front", STILL[0], targets.tracks)
    assert caplog.text.count("cannot be kept") == 1
    folder.mkdir()
    remembered.keep("front", STILL[0], targets.tracks)
    assert json.loads((folder / "state.json").read_text())["cameras"]["front"][0]["name"] == "red"
