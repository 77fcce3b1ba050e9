"""The newest frame of a live source, whatever the source does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_tracker.errors import ConfigError, SourceLost, SourceMissing
from edge_tracker.video.latest import LatestSource, LiveSettings
from edge_tracker.video.source import Frame, Source

QUICK = LiveSettings(frame_timeout_s=0.3, open_timeout_s=0.5, first_wait_s=0.05, longest_wait_s=0.2)


class Script(Source):
    """A source that does what it is told: numbers are frames with that time_s, the rest is called."""

    live = True

    def __init__(self, steps: list[float | Callable[[], None]], size: tuple[int, int] = (8, 6)) -> None:
        self._steps, self._size = steps, size
        self.closed = 0

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        for step in self._steps:
            if callable(step):
                step()
                continue
            image = np.full((self._size[1], self._size[0], 3), index % 256, np.uint8)
            yield Frame(index, step, image)
            index += 1

    def close(self) -> None:
        self.closed += 1


def lose() -> None:
    raise SourceLost("the cable is out")


def pause(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def opener_of(*connections: Source | Exception) -> Callable[[], Source]:
    """Gives one after another; the last again and again."""
    left = list(connections)

    def opener() -> Source:
        each = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(each, Exception):
            raise each
        return each

    return opener


def taken(source: LatestSource, count: int, timeout_s: float = 5.0) -> list[Frame]:
    frames: list[Frame] = []
    end = time.monotonic() + timeout_s
    while len(frames) < count:
        assert time.monotonic() < end, f"{len(frames)} of {count} frames"
        frame = source.take(0.1)
        if frame is not None:
            frames.append(frame)
    return frames


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.endswith(name)]


def test_a_slow_consumer_gets_the_newest_and_the_rest_is_counted() -> None:
    steps: list[float | Callable[[], None]] = []
    for k in range(100):
        steps += [k / 100, pause(0.01)]
    with LatestSource(opener_of(Script(steps)), "fast camera", QUICK) as source:
        first = taken(source, 1)[0]
        time.sleep(0.4)
        second = taken(source, 1)[0]
        assert second.index - first.index > 10
        assert second.index == source.arrived - 1 or second.index == source.arrived - 2  # the newest
        assert source.dropped >= second.index - first.index - 1
        assert abs(time.time() - (second.taken_at or 0)) < 1.0
        assert int(second.image[0, 0, 0]) == second.index % 256


def test_it_comes_back_after_a_loss_and_time_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    first = Script([0.0, pause(0.05), 0.05, pause(0.05), 0.1, lose])
    second = Script(
        [0.0, pause(0.05), 0.05, pause(0.3)], size=(16, 12)
    )  # its clock begins at 0 again, its size differs
    with (
        caplog.at_level(logging.WARNING),
        LatestSource(opener_of(first, SourceLost("not yet"), second), "rtsp://h/s", QUICK) as source,
    ):
        frames = taken(source, 5)
        assert source.reconnects == 2
        assert source.state == "live"
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))
    assert times[3] - times[2] >= 0.05  # by the time that passed
    assert frames[4].image.shape == (12, 16, 3)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert first.closed == 1
    assert any("the cable is out" in record.message for record in caplog.records)


def test_a_source_that_is_alive_and_gives_nothing_is_opened_again() -> None:
    end = threading.Event()
    frozen = Script([0.0, lambda: end.wait(5) and None])  # type: ignore[func-returns-value]
    good = Script([0.0, pause(0.1), 0.1, pause(5)])
    with LatestSource(opener_of(frozen, good), "frozen one", QUICK) as source:
        start = time.monotonic()
        taken(source, 3)
        assert 0.25 < time.monotonic() - start < 3
        assert source.stuck == 1  # its thread cannot be ended from outside
        end.set()
        time.sleep(0.3)
        assert source.stuck == 0
        assert frozen.closed == 1


def test_late_frames_of_a_reader_that_was_left_behind_do_not_count() -> None:
    wake = threading.Event()
    frozen = Script([0.0, lambda: wake.wait(5) and None, 50.0, 60.0])  # type: ignore[func-returns-value]
    steps: list[float | Callable[[], None]] = []
    for k in range(60):
        steps += [k / 50, pause(0.02)]
    with LatestSource(opener_of(frozen, Script(steps)), "sleeper", QUICK) as source:
        taken(source, 3)
        wake.set()
        times = [frame.time_s for frame in taken(source, 10)]
        assert max(times) < 20
        assert times == sorted(times)


def test_too_many_hanging_readers_call_for_a_new_process() -> None:
    end = threading.Event()

    def hang() -> Source:
        end.wait(20)
        raise SourceLost("at last")

    settings = LiveSettings(
        frame_timeout_s=0.1, open_timeout_s=0.1, first_wait_s=0.01, longest_wait_s=0.01, most_stuck=3
    )
    with LatestSource(hang, "driver", settings) as source:
        with pytest.raises(SourceLost, match="3 readers hang"):
            for _ in range(100):
                source.take(0.1)
        end.set()


def test_waits_grow_up_to_the_longest() -> None:
    attempts: list[float] = []

    def refuse() -> Source:
        attempts.append(time.monotonic())
        raise SourceLost("no")

    settings = LiveSettings(first_wait_s=0.04, longest_wait_s=0.16, jitter=0.0)
    with LatestSource(refuse, "away", settings):
        time.sleep(1.5)
    waits = np.diff(attempts)
    assert len(waits) >= 5
    assert (waits[:4] >= [0.039, 0.079, 0.159, 0.159]).all()
    assert (waits[:4] <= np.array([0.04, 0.08, 0.16, 0.16]) + 0.15).all()  # a busy machine is late
    assert waits[4:].max() < 0.16 + 0.15  # and not doubled any more


def test_jitter_spreads_attempts() -> None:
    settings = LiveSettings(first_wait_s=0.05, longest_wait_s=0.05, jitter=0.4)
    waits = np.array([settings.wait_s(attempt) for attempt in range(1, 201)])
    assert waits.max() <= 0.05
    assert waits.min() >= 0.03
    assert waits.std() > 0.005


def test_what_is_missing_at_the_start_is_said_or_waited_for() -> None:
    missing = SourceMissing("no such camera")
    with pytest.raises(SourceMissing, match="no such camera"):
        LatestSource(opener_of(missing), "camera 7", QUICK, patient=False)
    with pytest.raises(ConfigError, match="^size is"):
        LatestSource(opener_of(ConfigError("size is WIDTHxHEIGHT")), "camera 7", QUICK, patient=False)
    time.sleep(0.1)
    assert not threads_of("of camera 7")
    with LatestSource(opener_of(missing, Script([0.0, pause(1)])), "rtsp://late", QUICK) as source:
        taken(source, 1)


def test_a_driver_that_raises_its_own_errors_does_not_end_it() -> None:
    def break_() -> None:
        raise ZeroDivisionError("in the driver")

    with LatestSource(opener_of(Script([0.0, break_]), Script([0.0, pause(1)])), "odd", QUICK) as source:
        taken(source, 2)
        assert source.reconnects == 1


@pytest.mark.parametrize("jump", [1e6, -1e6, 3600.0])
def test_a_camera_whose_clock_jumps_does_not_take_ours_along(jump: float) -> None:
    steps: list[float | Callable[[], None]] = [
        0.0,
        pause(0.05),
        0.05,
        pause(0.05),
        jump,
        pause(0.05),
        jump + 0.05,
        pause(1),
    ]
    with LatestSource(opener_of(Script(steps)), "jumper", QUICK) as source:
        times = [frame.time_s for frame in taken(source, 4)]
    assert times == sorted(set(times))
    assert times[-1] < 1.0


def test_closing_ends_threads_and_whoever_waits() -> None:
    source = LatestSource(opener_of(Script([0.0, pause(0.1)] * 3)), "closing", QUICK)
    taken(source, 1)
    got: list[Frame | None] = []
    waiter = threading.Thread(target=lambda: got.append(source.take(10)))
    waiter.start()
    source.close()
    waiter.join(2)
    assert not waiter.is_alive()
    source.close()
    assert list(source) == []
    time.sleep(0.3)
    assert not threads_of("of closing")


def test_nothing_is_left_of_many_connections() -> None:
    before = threading.active_count()
    connections = [Script([0.0, lose]) for _ in range(40)]
    settings = LiveSettings(first_wait_s=0.001, longest_wait_s=0.001)
    with LatestSource(opener_of(*connections, Script([0.0, pause(0.5)])), "flapping", settings) as source:
        end = time.monotonic() + 5
        while source.reconnects < 40 and time.monotonic() < end:
            source.take(0.01)
        assert source.reconnects >= 40
    time.sleep(0.6)
    assert threading.active_count() <= before
    assert all(connection.closed == 1 for connection in connections)


@pytest.mark.parametrize("wrong", [{"frame_timeout_s": 0}, {"jitter": 2}, {"most_stuck": 0}, {"longest_wait_s": "5"}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        LiveSettings(**wrong)  # type: ignore[arg-type]
