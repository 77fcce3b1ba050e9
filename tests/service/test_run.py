"""The run loop: however it ends, outputs are closed and say truly whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from edge_tracker import Track, Tracker, TrackState
from edge_tracker.errors import BoxError, OutputError, OutputLost, SourceError
from edge_tracker.follow import follow
from edge_tracker.service import run
from edge_tracker.service.run import close_all
from edge_tracker.video import Frame, Source
from tests.conftest import Clip


class Memory(Source):
    """A source from memory that fails after `fails_after` frames."""

    def __init__(self, clip: Clip, frames: int = 10, error: BaseException | None = None, live: bool = False) -> None:
        self.clip, self.length, self.error, self.live = clip, frames, error, live

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.length or 0):
            yield Frame(index, index / 30, self.clip.images[index])
        if self.error:
            raise self.error


class Recorder:
    """An output that remembers."""

    def __init__(self, fails_at: int | None = None, fails_to_close: bool = False) -> None:
        self.tracks: list[Track] = []
        self.complete: bool | None = None
        self.fails_at, self.fails_to_close = fails_at, fails_to_close

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        if frame.index == self.fails_at:
            raise OutputError("full")
        self.tracks += tracks

    def close(self, complete: bool) -> None:
        self.complete = complete
        if self.fails_to_close:
            raise OutputError("cannot close")


def test_every_frame_reaches_every_output(clip: Clip) -> None:
    outputs = [Recorder(), Recorder()]
    summary = run(Memory(clip), Tracker(), clip.first_box, outputs)
    assert summary.frames == 10
    assert summary.lost_frames == 0
    assert summary.fps > 0
    for output in outputs:
        assert output.complete is True
        assert len(output.tracks) == 10
        assert output.tracks[0] == Track(clip.first_box, 1.0, TrackState.TRACKED)


def test_max_frames_ends_a_run_as_complete(clip: Clip) -> None:
    output = Recorder()
    assert run(Memory(clip), Tracker(), clip.first_box, [output], max_frames=4).frames == 4
    assert len(output.tracks) == 4
    assert output.complete is True


@pytest.mark.parametrize("error", [SourceError("gone"), RuntimeError("a bug")])
def test_a_source_that_breaks_keeps_what_came_before(error: Exception, clip: Clip) -> None:
    output = Recorder()
    with pytest.raises(type(error)):
        run(Memory(clip, error=error), Tracker(), clip.first_box, [output])
    assert len(output.tracks) == 10
    assert output.complete is False


@pytest.mark.parametrize("live", [True, False])
def test_ctrl_c_is_the_natural_end_of_a_live_source_only(live: bool, clip: Clip) -> None:
    output = Recorder()
    with pytest.raises(KeyboardInterrupt):
        run(Memory(clip, error=KeyboardInterrupt(), live=live), Tracker(), clip.first_box, [output])
    assert output.complete is live


def test_a_bad_box_closes_the_outputs(clip: Clip) -> None:
    output = Recorder()
    with pytest.raises(BoxError):
        run(Memory(clip), Tracker(), (999, 999, 1, 1), [output])
    assert output.complete is False


def test_one_failing_output_does_not_keep_the_others_open(clip: Clip) -> None:
    outputs = [Recorder(fails_at=3), Recorder(fails_to_close=True), Recorder()]
    with pytest.raises(OutputError):
        run(Memory(clip), Tracker(), clip.first_box, outputs)
    assert all(output.complete is False for output in outputs)
    closed: list[bool] = []

    class Odd(Recorder):
        def close(self, complete: bool) -> None:
            raise ZeroDivisionError("in a library")

    class Even(Recorder):
        def close(self, complete: bool) -> None:
            closed.append(complete)

    with pytest.raises(ZeroDivisionError):
        close_all([Odd(), Even()], True)
    assert closed == [True]


class Away(Recorder):
    """A receiver that is away for some frames."""

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        if 2 <= frame.index < 6:
            raise OutputLost("the broker at host:1883 is away")
        super().write(frame, tracks)


def test_a_receiver_that_is_away_ends_nothing(clip: Clip, caplog: pytest.LogCaptureFixture) -> None:
    away, other = Away(), Recorder()
    assert run(Memory(clip), Tracker(), clip.first_box, [away, other]).frames == 10
    assert (len(away.tracks), len(other.tracks)) == (6, 10)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "away" in said[0]
    assert "4 frames" in said[1]


def test_following_is_init_on_the_first_frame_and_updates_after_it(clip: Clip) -> None:
    calls: list[str] = []

    class Target:
        def init(self, image: object, box: object) -> None:
            calls.append("init")

        def update(self, image: object) -> Track:
            calls.append("update")
            return Track((1, 2, 3, 4), 0.5, TrackState.UNCERTAIN)

    steps = list(follow(Memory(clip, 3), Target(), clip.first_box))
    assert calls == ["init", "update", "update"]
    assert [step.frame.index for step in steps] == [0, 1, 2]
    assert steps[0].track.box == clip.first_box
    assert steps[0].update_s == 0 < steps[1].update_s
