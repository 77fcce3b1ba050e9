"""Targets that choose themselves: by motion, by a detector program, by boxes from MQTT."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tracker.boxes import Box, iou
from edge_tracker.errors import ConfigError
from edge_tracker.service.detections import DetectorSettings, MqttChooser, ProgramChooser, frigate_box, parsed_boxes
from edge_tracker.service.motion import MotionChooser, MotionSettings
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame
from tests.service.scenes import BLUE, GROUND, RED, Image, box_at, scene
from tests.service.servers import Broker, free_port, wait_until


def proposals(images: Sequence[Image], settings: MotionSettings, tracks: Sequence[Track] = ()) -> list[tuple[int, Box]]:
    chooser = MotionChooser(settings)
    found = []
    for k, image in enumerate(images):
        found += [(k, box) for _, box in chooser.propose(Frame(k, k / 25, image), tracks)]
    return found


def overlap(box: Box, other: Box) -> float:
    return float(iou(np.array(box), np.array(other)))


WALK = [scene([], noise=k) for k in range(20)] + [scene([(RED, 40 + 4 * k, 120)], noise=k + 20) for k in range(40)]


def test_what_walks_in_is_found_once_and_soon() -> None:
    found = proposals(WALK, MotionSettings(most=3))
    (index, box), *rest = found
    assert 20 + 5 <= index <= 20 + 15
    assert overlap(box, box_at(40 + 4 * (index - 20), 120)) > 0.5
    assert all(i > index for i, _ in rest)


def test_who_walks_from_the_first_frame_on_is_found_too() -> None:
    """When nothing is known of the background, which at first holds the walker."""
    images = [scene([(RED, 40 + k, 120)], noise=k) for k in range(16)]
    index, box = proposals(images, MotionSettings(most=3))[0]
    assert index < 12
    assert overlap(box, box_at(40 + index, 120)) > 0.7
    assert proposals(images, MotionSettings(most=3, cold_frames=0))[0][0] > 12


def test_a_target_that_there_is_is_not_found_again_and_enough_is_enough() -> None:
    chooser = MotionChooser(MotionSettings(most=3))
    found = []
    for k, image in enumerate(WALK):
        x = 40 + 4 * max(k - 20, 0)
        tracks = [Track(box_at(x, 120), 0.9, TrackState.TRACKED)] if k >= 20 else []
        found += chooser.propose(Frame(k, k / 25, image), tracks)
    assert found == []
    full = [Track((0.0, 0.0, 5.0, 5.0), 0.9, TrackState.TRACKED)]
    assert proposals(WALK, MotionSettings(most=1), full) == []


def test_two_that_walk_are_two() -> None:
    images = [scene([], noise=k) for k in range(20)]
    images += [scene([(RED, 40 + 4 * k, 60), (BLUE, 280 - 4 * k, 180)], noise=k) for k in range(20)]
    found = proposals(images, MotionSettings(most=5))
    assert len(found) >= 2
    for x, y, sign in ((40, 60, 1), (280, 180, -1)):
        assert any(overlap(box, box_at(x + sign * 4 * (index - 20), y)) > 0.5 for index, box in found)


def still(count: int, shake: float = 0.0, light: float = 0.0) -> Iterator[Image]:
    random = np.random.default_rng(3)
    wide = np.pad(GROUND, ((8, 8), (8, 8), (0, 0)), mode="reflect").astype(np.float32)
    for k in range(count):
        dx, dy = np.round(random.uniform(-shake, shake, 2)).astype(int)
        image = wide[8 + dy : 248 + dy, 8 + dx : 328 + dx] * (1 + light * np.sin(k / 40))
        yield np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("shake", "light"), [(0.0, 0.0), (4.0, 0.0), (0.0, 0.15), (2.0, 0.1)])
def test_a_still_scene_starts_nothing(shake: float, light: float) -> None:
    assert proposals(list(still(200, shake, light)), MotionSettings(most=9)) == []


def test_who_walks_is_found_while_the_camera_shakes() -> None:
    random = np.random.default_rng(5)
    images = []
    for k, image in enumerate(WALK):
        dx, dy = np.round(random.uniform(-3, 3, 2)).astype(int)
        images.append(np.roll(image, (dy, dx), axis=(0, 1)) if k else image)
    index, box = proposals(images, MotionSettings(most=3))[0]
    assert 25 <= index <= 40
    assert overlap(box, box_at(40 + 4 * (index - 20), 120)) > 0.4


def test_a_light_that_is_switched_on_is_nobody() -> None:
    dark = [np.asarray(image // 3, dtype=np.uint8) for image in still(40)]
    assert proposals([*dark, *still(60)], MotionSettings(most=9)) == []


def test_regions_that_are_ignored_and_things_too_small_or_too_large() -> None:
    assert proposals(WALK, MotionSettings(ignore=((0.0, 0.25, 1.0, 0.5),))) == []
    assert proposals(WALK, MotionSettings(smallest=0.2)) == []
    assert proposals(WALK, MotionSettings(largest=0.005)) == []
    assert proposals(WALK, MotionSettings(ignore=((0.0, 0.0, 1.0, 0.2),)))


def test_what_flickers_in_place_is_not_followed() -> None:
    images = [scene([], noise=k) for k in range(20)]
    images += [scene([(RED, 160, 120)] if k % 2 else [(BLUE, 160, 120)], noise=k) for k in range(60)]
    assert proposals(images, MotionSettings(travel=0.3)) == []


def test_another_size_and_grey_pictures() -> None:
    mixed: list[Any] = [
        *WALK[:30],
        *(image[::2, ::2] for image in WALK[30:40]),
        *(image[..., 0] for image in WALK[:20]),
    ]
    proposals(mixed, MotionSettings())


@pytest.mark.parametrize(
    "wrong", [{"ignore": ((0, 0, 1),)}, {"ignore": ((0, 0, 2, 1),)}, {"frames": 1}, {"smallest": 2}]
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MotionSettings(**wrong)


# A detector program


FINDS_RED = """
import json, struct, sys
import cv2, numpy as np
while True:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4: break
    data = sys.stdin.buffer.read(struct.unpack(">I", head)[0])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
    ys, xs = np.nonzero((image[..., 2] > image[..., 0] + 100) & (image[..., 2] > image[..., 1] + 100))
    boxes = [{"box": [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1], "score": 0.9},
             {"box": [1, 1, 9, 9], "score": 0.1}] if len(xs) > 100 else []
    print(json.dumps(boxes), flush=True)
"""


def command(folder: Path, body: str) -> str:
    path = folder / "detect.py"
    path.write_text(body)
    return shlex.join([sys.executable, str(path)])


def asked_until_found(chooser: Any, image: Image, tracks: Sequence[Track] = (), timeout_s: float = 15) -> list[Any]:
    end = time.monotonic() + timeout_s
    index = 0
    while time.monotonic() < end:
        found = chooser.propose(Frame(index, index / 25, image), tracks)
        if found:
            return list(found)
        index += 1
        time.sleep(0.01)
    return []


def test_a_program_finds_targets_in_the_picture_it_was_given(tmp_path: Path) -> None:
    chooser = ProgramChooser(command(tmp_path, FINDS_RED), DetectorSettings(every=2))
    image = scene([(RED, 100, 120)])
    ((seen, box),) = asked_until_found(chooser, image)
    assert overlap(box, box_at(100, 120)) > 0.6
    assert seen is image
    followed = [Track(box_at(102, 121), 0.9, TrackState.TRACKED)]
    assert asked_until_found(chooser, image, followed, 1.0) == []
    lost = [Track(box_at(102, 121), 0.1, TrackState.LOST)]
    assert len(asked_until_found(chooser, image, lost)) == 1
    chooser.close()
    assert chooser._process.returncode is not None


def test_a_program_that_is_slow_holds_up_nobody(tmp_path: Path) -> None:
    chooser = ProgramChooser(command(tmp_path, "import time; time.sleep(120)"), DetectorSettings(every=1))
    start, image = time.monotonic(), scene([])
    for k in range(200):
        assert chooser.propose(Frame(k, k / 25, image), []) == []
    assert time.monotonic() - start < 60  # whoever waits for the program waits longer
    chooser.close()


@pytest.mark.parametrize(
    "body", ["import sys; sys.exit(1)", "print('nonsense', flush=True)", "print('{}', flush=True)"]
)
def test_a_program_that_fails_is_started_again(tmp_path: Path, body: str, caplog: pytest.LogCaptureFixture) -> None:
    """The first run fails, the second is well."""
    flag = tmp_path / "ran"
    text = f"import pathlib\nflag = pathlib.Path({str(flag)!r})\n"
    text += f"if not flag.exists():\n    flag.touch()\n    {body}\nelse:\n"
    text += "\n".join(f"    {line}" for line in FINDS_RED.splitlines())
    chooser = ProgramChooser(command(tmp_path, text), DetectorSettings(every=1))
    assert asked_until_found(chooser, scene([(RED, 100, 120)]))
    assert "started again" in caplog.text
    assert "Broken pipe" not in caplog.text
    chooser.close()


@pytest.mark.parametrize("answer", ["'[' * 100_000", "'[{\"box\": [1, 2, 3, ' + 400 * '9' + ']}]'", "'[NaN]'"])
def test_a_program_whose_answer_is_beyond_measure_is_started_again(
    tmp_path: Path, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    chooser = ProgramChooser(command(tmp_path, f"print({answer}, flush=True)"), DetectorSettings(every=1))
    assert chooser.propose(Frame(0, 0.0, scene([])), []) == []
    wait_until(lambda: "started again" in caplog.text, 15, "a word")
    assert chooser._thread.is_alive()
    chooser.close()


def test_a_program_that_waits_to_be_started_again_is_not_started_at_the_end(tmp_path: Path) -> None:
    """One that fails when it is asked: the next would wait for a question for ever, and the end for it."""
    chooser = ProgramChooser(command(tmp_path, "print('x', flush=True); input()"), DetectorSettings(every=1))
    chooser.propose(Frame(0, 0.0, scene([])), [])
    process = chooser._process
    time.sleep(0.6)  # it has failed, and waits
    closing = threading.Thread(target=chooser.close, daemon=True)
    closing.start()
    closing.join(15)
    assert not closing.is_alive()
    assert chooser._process is process


@pytest.mark.parametrize("text", ["/no/such/program", "'"])
def test_a_program_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError):
        ProgramChooser(text)


# Boxes by MQTT


def test_frigates_events_become_targets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish = pytest.importorskip("paho.mqtt.publish", reason="paho-mqtt is not installed")
    broker = Broker(tmp_path, free_port())
    address = f"mqtt://127.0.0.1:{broker.port}/frigate/events?camera=front&label=person&size=640x480"
    chooser = MqttChooser(address, DetectorSettings())
    try:
        wait_until(chooser._client.is_connected, 5, "the connection")
        time.sleep(0.3)

        def tell(**changes: Any) -> None:
            after = {"camera": "front", "label": "person", "score": 0.8, "box": [156, 196, 244, 284]} | changes
            event = {"type": "new", "before": {}, "after": after}
            publish.single("frigate/events", json.dumps(event), hostname="127.0.0.1", port=broker.port)

        image = scene([(RED, 100, 120)])
        for changes in ({"camera": "back"}, {"label": "car"}, {"score": 0.2}, {"false_positive": True}):
            tell(**changes)
        publish.single("frigate/events", "nonsense", hostname="127.0.0.1", port=broker.port)
        assert asked_until_found(chooser, image, timeout_s=0.7) == []
        tell()
        ((_, box),) = asked_until_found(chooser, image)
        assert overlap(box, box_at(100, 120)) > 0.95  # from 640 x 480 into our 320 x 240
        # whoever reaches the topic: a flood of boxes is as many as are allowed, and nothing else
        flood = [{"box": [k % 500, k % 300, 20, 20], "score": 1.0} for k in range(20_000)]
        publish.single("frigate/events", json.dumps(flood), hostname="127.0.0.1", port=broker.port)
        event = b'{"after": {"camera": "front", "label": "person", "score": %s, "box": 1}}'
        many = [b"[" * 100_000, "\xff", b"9" * (2 << 20), event % b"[1]", b"[[]]"]
        many += [b'[{"box": [1, 2, 3, ' + b"9" * 400 + b"]}]", event % (b"9" * 400)]
        for payload in many:
            publish.single("frigate/events", payload, hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: chooser._answer is not None, 5, "the flood")
        assert chooser._answer is not None
        assert len(chooser._answer.boxes) == chooser.settings.most
        chooser._take()
        tell()
        followed = [Track(box_at(101, 121), 0.9, TrackState.TRACKED)]
        assert asked_until_found(chooser, image, followed, 0.7) == []
        tell()
        assert asked_until_found(chooser, image)
        assert caplog.text.count("is not understood") == 2  # the nonsense above, and these: once each
    finally:
        chooser.close()
        broker.kill()


def test_what_the_broker_kept_is_no_target_of_now(tmp_path: Path) -> None:
    publish = pytest.importorskip("paho.mqtt.publish", reason="paho-mqtt is not installed")
    broker = Broker(tmp_path, free_port())
    to = {"hostname": "127.0.0.1", "port": broker.port}
    publish.single("boxes", '[{"box": [1, 2, 30, 40]}]', retain=True, **to)
    chooser = MqttChooser(f"mqtt://127.0.0.1:{broker.port}/boxes", DetectorSettings())
    try:
        wait_until(chooser._client.is_connected, 5, "the connection")
        assert asked_until_found(chooser, scene([]), timeout_s=0.7) == []
        publish.single("boxes", '[{"box": [5, 6, 30, 40]}]', **to)
        ((_, box),) = asked_until_found(chooser, scene([]))
        assert box == (5, 6, 30, 40)
    finally:
        chooser.close()
        broker.kill()


def test_events_and_lists_are_read_strictly() -> None:
    event: dict[str, Any] = {"type": "update", "after": {"score": 0.9, "box": [10, 20, 40, 60]}}
    assert frigate_box(event, {}, 0.5) == (10, 20, 30, 40)
    assert frigate_box({**event, "type": "end"}, {}, 0.5) is None
    assert parsed_boxes([{"box": [1, 2, 3, 4]}, {"box": [1, 2, 3, 4], "score": 0.1}], 0.5) == [(1, 2, 3, 4)]
    for wrong in ({}, {"after": {"score": 0.9, "box": [40, 20, 10, 60]}}, {"after": {"score": 0.9, "box": "x"}}):
        with pytest.raises((ValueError, KeyError)):
            frigate_box(wrong, {}, 0.5)
    for bad in (
        {},
        [5],
        [{"box": [1, 2, 3]}],
        [{"box": [1, 2, 0, 4]}],
        [{"box": [1, 2, 3, float("nan")]}],
        [{"box": 1}],
    ):
        with pytest.raises(ValueError, match=r".+"):
            parsed_boxes(bad, 0.5)
