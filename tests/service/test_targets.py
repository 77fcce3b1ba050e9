"""Several targets on one session: they come and go, take turns, and never claim one object together."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tracker.boxes import centre, iou
from edge_tracker.errors import BoxError, ConfigError, UsageError
from edge_tracker.methods import Prepared, prepare
from edge_tracker.outputs.records import JsonLinesOutput
from edge_tracker.service import targets as targets_module
from edge_tracker.service.targets import LONGEST_NAME, Targets, TargetSettings, checked_name, without
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame
from tests.service.scenes import BLUE, DISC, RED, Image, box_at, scene


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare("accurate")


PATIENT = TargetSettings(budget_s=10.0)  # a busy machine is no reason to take turns


def distance(track: Track, x: float, y: float) -> float:
    return float(np.hypot(centre(track.box)[0] - x, centre(track.box)[1] - y))


def test_targets_come_and_go_while_others_are_followed(prepared: Prepared) -> None:
    targets = Targets(prepared, PATIENT)
    assert targets.update(scene([])) == []
    first = targets.add(scene([(RED, 60, 80), (BLUE, 200, 160)]), box_at(60, 80))
    for k in range(1, 20):
        image = scene([(RED, 60 + 3 * k, 80), (BLUE, 200, 160 - 2 * k)], noise=k)
        if k == 5:
            assert targets.add(image, box_at(200, 150), "blue one") == "blue one"
        tracks = targets.update(image)
        if k == 10:
            targets.rename(first, "red one")
    assert targets.names == ["red one", "blue one"]
    by_name = {track.target: track for track in tracks}
    assert distance(by_name["red one"], 60 + 3 * 19, 80) < 6
    assert distance(by_name["blue one"], 200, 160 - 2 * 19) < 6
    assert all(track.state is TrackState.TRACKED and track.age == 0 for track in tracks)
    targets.move(image, "red one", (10, 10, 40, 40))
    assert targets.tracks[0].box == (10, 10, 40, 40)
    targets.drop("red one")
    assert targets.names == ["blue one"]


def test_what_is_wrong_changes_nothing(prepared: Prepared) -> None:
    image = scene([(RED, 60, 80), (BLUE, 200, 160)])
    targets = Targets(prepared, TargetSettings(most=2, budget_s=10.0))
    targets.add(image, box_at(60, 80), "a")
    targets.add(image, box_at(200, 160), "b")
    before = targets.tracks
    for wrong in (
        lambda: targets.add(image, (100, 100, 20, 20)),  # one too many
        lambda: targets.rename("a", "b"),
        lambda: targets.rename("a", "x" * (LONGEST_NAME + 1)),
        lambda: targets.rename("c", "d"),
        lambda: targets.drop("c"),
        lambda: targets.move(image, "c", (1, 1, 10, 10)),
        lambda: targets.move(image, "a", (1, 1, -10, 10)),
        lambda: targets.move(image, "a", (1000, 1, 10, 10)),
        lambda: targets.move(image, "a", box_at(202, 161)),  # where b is
    ):
        with pytest.raises(UsageError):
            wrong()
    assert targets.tracks == before


@pytest.mark.parametrize("name", ["", "   ", "a" + chr(0) + "b", chr(0x202E) + "evil", "x" * 41, ".", " ..", 5, None])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(UsageError):
        checked_name(name)


def test_names_that_are_some() -> None:
    assert checked_name("  Katze \n Mia ") == "Katze Mia"
    assert checked_name("Grün & <b>") == "Grün & <b>"


def test_a_taken_object_is_refused(prepared: Prepared) -> None:
    image = scene([(RED, 60, 80)])
    targets = Targets(prepared, PATIENT)
    targets.add(image, box_at(60, 80), "a")
    with pytest.raises(BoxError, match="a is followed there already"):
        targets.add(image, box_at(63, 82))
    assert targets.names == ["a"]


@pytest.mark.parametrize(
    ("other", "offset"), [(RED, 0), (RED, 6), (BLUE, 0), (BLUE, 6), (RED, 20)], ids=lambda v: str(np.mean(v))[:3]
)
def test_two_targets_are_never_both_tracked_on_one_object(prepared: Prepared, other: Image, offset: int) -> None:
    """Two discs cross; where one covers the other, both boxes want the one in front."""
    targets = Targets(prepared, PATIENT)
    for k in range(130):
        x = 220 * min(k, 110) / 110
        image = scene([(other, 270 - x, 120 + offset), (RED, 50 + x, 120)], noise=k)
        if k == 0:
            targets.add(image, box_at(50, 120), "a")
            targets.add(image, box_at(270, 120 + offset), "b")
        tracks = targets.update(image)
        overlap = float(iou(np.array(tracks[0].box), np.array(tracks[1].box)))
        if overlap >= targets.settings.same_iou:
            assert not all(track.state is TrackState.TRACKED for track in tracks), k
    assert [track.state for track in tracks] == [TrackState.TRACKED] * 2  # both are there again, apart
    ends = [(270.0, 120.0), (50.0, 120.0 + offset)]
    for track in tracks:
        assert min(distance(track, *end) for end in ends) < 4
    assert distance(tracks[0], *centre(tracks[1].box)) > 100
    if other is BLUE:  # which can be told by its looks; of two equal discs nobody knows which is which
        assert distance(tracks[0], *ends[0]) < 4
        assert distance(tracks[1], *ends[1]) < 4


def test_the_weaker_of_two_on_one_object_ends_lost(prepared: Prepared) -> None:
    """The second target's object goes behind the first's, and does not come back."""
    targets = Targets(prepared, PATIENT)
    for k in range(60):
        x = min(k, 40) * 3
        image = scene(([(BLUE, 270 - x, 120)] if k < 40 else []) + [(RED, 150, 120)], noise=k)
        if k == 0:
            targets.add(image, box_at(150, 120), "stays")
            targets.add(image, box_at(270, 120), "goes")
        tracks = targets.update(image)
    assert [track.state for track in tracks] == [TrackState.TRACKED, TrackState.LOST]
    assert distance(tracks[0], 150, 120) < 4


class Dice:
    """A method that says anything: one of a few places, in any state."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def init(self, image: Image, box: Any) -> None: ...

    def update(self, image: Image) -> Track:
        x = 60.0 * self._random.integers(0, 3) + self._random.uniform(-6, 6)
        states = [*[TrackState.TRACKED] * 4, TrackState.UNCERTAIN, TrackState.LOST]
        state = states[self._random.integers(len(states))]
        return Track((x, 40.0, 40.0, 40.0), float(self._random.uniform(0.3, 1)), state)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 5), turns=st.booleans())
def test_whatever_methods_say_no_two_are_tracked_on_one_object(seed: int, count: int, turns: bool) -> None:
    random = np.random.default_rng(seed)
    dice: Any = SlowPrepared(0.0)
    dice.new_target = lambda: Dice(random)
    targets = Targets(dice, TargetSettings(budget_s=1e-9 if turns else 1.0))
    image = scene([])
    for k in range(count):
        targets.add(image, (60.0 * k, 120.0, 40.0, 40.0))
    for _ in range(30):
        tracked = [track for track in targets.update(image) if track.state is TrackState.TRACKED]
        for k, one in enumerate(tracked):
            for other in tracked[k + 1 :]:
                assert float(iou(np.array(one.box), np.array(other.box))) < targets.settings.same_iou


class Slow:
    """A method that takes its time, and knows how often it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.updates = seconds, 0
        self.seen: Image | None = None

    def init(self, image: Image, box: Any) -> None:
        self.box = box

    def update(self, image: Image) -> Track:
        time.sleep(self.seconds)
        self.updates += 1
        self.seen = image
        return Track(self.box, 0.9, TrackState.TRACKED)

    def rescale(self, kx: float, ky: float, size: tuple[int, int]) -> None:
        x, y, w, h = self.box
        self.box = x * kx, y * ky, w * kx, h * ky


class SlowPrepared:
    """What `prepare` gives, with a method of that kind."""

    name, backbone, files = "slow", None, ()

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.made: list[Slow] = []

    def new_target(self) -> Slow:
        self.made.append(Slow(self.seconds))
        return self.made[-1]


def test_targets_take_turns_when_there_is_no_time_for_all(caplog: pytest.LogCaptureFixture) -> None:
    slow: Any = SlowPrepared(0.01)
    targets = Targets(slow, TargetSettings(budget_s=0.012, same_iou=1.0))
    image = scene([])
    for k in range(4):
        targets.add(image, (70 * k + 5, 10, 40, 40))
    ages = []
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            ages.append([track.age for track in targets.update(image)])
    counts = [method.updates for method in slow.made]
    assert max(counts) - min(counts) <= 1  # in turn, nobody starves
    assert 40 <= sum(counts) < 4 * 40
    assert max(map(max, ages)) in (1, 2, 3, 4)
    waiting = next(track for track in targets.update(image) if track.age)
    lines = JsonLinesOutput("-")
    assert json.loads(lines.line(Frame(0, 0.0, image), waiting))["age"] == waiting.age  # and says so
    assert "age" not in json.loads(lines.line(Frame(0, 0.0, image), replace(waiting, age=0)))
    assert targets.turns > 1.3
    assert sum("take turns" in record.message for record in caplog.records) == 1


def test_with_time_for_all_nobody_waits() -> None:
    slow: Any = SlowPrepared(0.0)
    targets = Targets(slow, TargetSettings(budget_s=0.5))
    image = scene([])
    for k in range(4):
        targets.add(image, (70 * k + 5, 10, 40, 40))
    for _ in range(5):
        assert all(track.age == 0 for track in targets.update(image))
    assert targets.turns == 1.0


def test_a_frame_of_another_size_is_the_same_view(prepared: Prepared) -> None:
    targets = Targets(prepared, PATIENT)
    image = scene([(RED, 60, 80), (BLUE, 200, 160)])
    targets.add(image, box_at(60, 80))
    targets.add(image, box_at(200, 160))
    double = np.ascontiguousarray(image.repeat(2, axis=0).repeat(2, axis=1))
    tracks = targets.update(double)
    assert distance(tracks[0], 120, 160) < 8
    assert distance(tracks[1], 400, 320) < 8


def test_a_target_that_waits_is_scaled_with_the_frame_too() -> None:
    slow: Any = SlowPrepared(0.01)
    targets = Targets(slow, TargetSettings(budget_s=0.001))
    for k in range(3):
        targets.add(scene([]), (100 * k + 5, 10, 40, 40))
    double = np.ascontiguousarray(scene([]).repeat(2, axis=0).repeat(2, axis=1))
    tracks = targets.update(double)
    assert sum(track.age == 1 for track in tracks) == 2
    assert [track.box for track in tracks] == [(200 * k + 10, 20, 80, 80) for k in range(3)]


def test_a_target_chosen_in_an_older_picture_catches_up(prepared: Prepared) -> None:
    """The object moves by twice its size while a person draws the box."""
    images = [scene([(RED, 60 + 6 * k, 80)], noise=k) for k in range(15)]
    targets = Targets(prepared, PATIENT)
    name = targets.add(images[0], box_at(60, 80))
    targets.catch_up(name, images[1:])
    assert distance(targets.tracks[0], 60 + 6 * 14, 80) < 5


def test_catching_up_takes_no_longer_than_a_camera_can_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets_module, "CATCH_UP_S", 0.3)
    slow: Any = SlowPrepared(0.05)
    targets = Targets(slow)
    name = targets.add(scene([]), (5, 10, 40, 40))
    images = [scene([])] * 149 + [scene([(RED, 60, 80)])]
    start = time.monotonic()
    targets.catch_up(name, images)
    assert time.monotonic() - start < 3
    assert 3 <= slow.made[0].updates <= 8
    assert np.array_equal(slow.made[0].seen, images[-1])
    targets.catch_up(name, [])


def test_painting_over_takes_the_object_out_and_leaves_the_rest() -> None:
    image = scene([(RED, 60, 80)])
    painted = without(image, box_at(60, 80))
    inside = painted[80 - DISC // 2 : 80 + DISC // 2, 60 - DISC // 2 : 60 + DISC // 2]
    assert (inside == inside[0, 0]).all()
    changed = (painted != image).any(axis=2)
    assert changed.sum() <= (DISC + 1) ** 2
    assert not changed[:, 100:].any()
    for far in ((-500.0, 0.0, 10.0, 10.0), (-10.0, -10.0, 5000.0, 5000.0)):
        assert without(image, far).shape == image.shape


@pytest.mark.parametrize("wrong", [{"most": 0}, {"budget_s": 0}, {"same_iou": 2}, {"contested_frames": 1.5}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TargetSettings(**wrong)
