"""Cameras of a Raspberry Pi and V4L2 against stand-ins with the same call shapes: hang, unplug, padding, colours."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_tracker.errors import ConfigError, SourceLost, SourceMissing
from edge_tracker.outputs.web.pictures import Pictures
from edge_tracker.video import camera as camera_module
from edge_tracker.video import picamera2 as picamera2_module
from edge_tracker.video import rpicam as rpicam_module
from edge_tracker.video.capture import CaptureSettings, parsed_camera, without_padding, yuv420_to_bgr
from edge_tracker.video.open import is_live, is_local, open_source

WIDTH, HEIGHT = 72, 48  # rows of 216 bytes, no multiple of 32 or 64


def red_card() -> np.ndarray:
    """BGR: red, with a green corner."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 2] = 200
    image[:8, :16] = (0, 180, 0)
    return image


class Request:
    def __init__(self, camera: FakePicamera2) -> None:
        self.camera = camera
        self.released = False

    def make_buffer(self, name: str) -> np.ndarray:
        return self.camera.buffer() if name == "main" else self.camera.small_buffer()

    def get_metadata(self) -> dict[str, int]:
        return {"SensorTimestamp": self.camera.stamp}

    def release(self) -> None:
        assert not self.released
        self.released = True
        self.camera.held -= 1


class FakePicamera2:
    """As much of picamera2's class as is used, with its call shapes."""

    found = 1
    format: str | None = None  # what configure() makes of the wish
    stride = 256
    streams = 2
    hangs_after = gone_after = short_after = 10_000
    made: list[FakePicamera2]

    def __init__(self, camera_num: int = 0) -> None:
        if camera_num >= self.found:
            raise IndexError("list index out of range")
        self.frames, self.held, self.calls = 0, 0, ["open"]
        type(self).made.append(self)

    def create_video_configuration(
        self, main: dict[str, Any], controls: dict[str, Any], buffer_count: int, lores: dict[str, Any] | None = None
    ) -> Any:
        assert buffer_count >= 2
        return {"main": dict(main), "lores": lores, "controls": controls}

    def configure(self, configuration: Any) -> None:
        main = configuration["main"]
        self.main = {"size": main["size"], "format": self.format or main["format"], "stride": self.stride}
        self.controls = configuration["controls"]
        self.lores = configuration["lores"]
        if self.lores is not None and self.streams < 2:
            raise RuntimeError("lores stream is not supported")
        if self.lores is not None:
            assert self.lores["size"][0] <= main["size"][0]
            self.lores = self.lores | {"stride": self.lores["size"][0] + 32}

    def camera_configuration(self) -> Any:
        return {"main": self.main, "lores": self.lores}

    def start(self) -> None:
        self.calls.append("start")

    def capture_request(self, wait: bool | None = None) -> str:
        assert wait is False
        return "job"

    def wait(self, job: str, timeout: float | None = None) -> Request:
        assert job == "job"
        assert timeout is not None
        if self.frames >= self.hangs_after:
            time.sleep(timeout)
            raise TimeoutError
        if self.frames >= self.gone_after:
            raise RuntimeError("Camera frontend has timed out")
        self.frames += 1
        self.held += 1
        assert self.held == 1, "a request was not given back"
        self.stamp = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 20_000_000
        return Request(self)

    def buffer(self) -> np.ndarray:
        """The card as it lies in memory, rows padded to `stride`."""
        orders = {
            "RGB888": lambda: red_card(),
            "BGR888": lambda: red_card()[..., ::-1],
            "XRGB8888": lambda: np.dstack([red_card(), np.full((HEIGHT, WIDTH), 255, np.uint8)]),
            "XBGR8888": lambda: np.dstack([red_card()[..., ::-1], np.full((HEIGHT, WIDTH), 255, np.uint8)]),
        }
        if self.main["format"] == "YUV420":
            return padded_yuv(red_card(), self.stride)
        rows = orders[self.main["format"]]().reshape(HEIGHT, -1)
        data = np.full((HEIGHT, self.stride), 77, np.uint8)
        data[:, : rows.shape[1]] = rows
        return data.reshape(-1)[: 100 if self.frames > self.short_after else None]

    def small_buffer(self) -> np.ndarray:
        width, height = self.lores["size"]
        card = cv2.resize(red_card(), (width, height), interpolation=cv2.INTER_NEAREST)
        return padded_yuv(card, self.lores["stride"])

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


def padded_yuv(image: np.ndarray, stride: int) -> np.ndarray:
    height, width = image.shape[:2]
    planes = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2YUV_I420).reshape(-1)
    luma, chroma = planes[: width * height].reshape(height, width), planes[width * height :].reshape(height, width // 2)
    parts = []
    for plane, row in ((luma, stride), (chroma, stride // 2)):
        data = np.full((height, row), 77, np.uint8)
        data[:, : plane.shape[1]] = plane
        parts.append(data.reshape(-1))
    return np.concatenate(parts)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera2]:
    class Fake(FakePicamera2):
        made: list[FakePicamera2] = []  # noqa: RUF012 - of this test alone

    module = types.ModuleType("picamera2")
    module.Picamera2 = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(picamera2_module, "FRAME_S", 0.3)
    return Fake


SPEC = f"picamera2:?size={WIDTH}x{HEIGHT}&fps=15"


def is_the_card(image: np.ndarray, exact: bool) -> bool:
    return image.shape == (HEIGHT, WIDTH, 3) and bool(
        (np.abs(image.astype(int) - red_card()) <= (0 if exact else 45)).mean() > 0.95
    )


@pytest.mark.parametrize("given", ["RGB888", "BGR888", "XRGB8888", "XBGR8888", "YUV420"])
@pytest.mark.parametrize("stride", [288, 320, 512])
def test_a_red_card_is_red_whatever_the_order_and_the_padding(
    fake: type[FakePicamera2], given: str, stride: int
) -> None:
    fake.format, fake.stride = given, stride
    with open_source(SPEC) as source:
        assert source.live
        assert source.fps == 15
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 3:
                break
    for frame in frames:
        assert is_the_card(frame.image, exact=given != "YUV420")
        assert frame.image.flags.c_contiguous
        assert abs(time.time() - 0.02 - (frame.taken_at or 0)) < 1  # when the sensor took it
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))
    (camera,) = fake.made
    assert camera.calls == ["open", "start", "stop", "close"]
    assert camera.held == 0
    source.close()
    assert camera.calls == ["open", "start", "stop", "close"]


def test_a_wide_cameras_smaller_stream_is_what_the_page_shows(
    fake: type[FakePicamera2], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picamera2_module, "SMALLER", 36)
    with open_source(SPEC) as source:
        frame = next(iter(source))
        assert fake.made[0].lores["size"] == (36, 24)
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    assert frame.smaller is not None
    small = frame.smaller()
    assert small.shape == (24, 36, 3)
    assert small[-1, -1, 2] > 150
    assert small[-1, -1, 0] < 50
    pictures = Pictures()
    monkeypatch.setattr(fake, "small_buffer", None)  # what is asked for later comes from the copy
    pictures.put(frame, [])
    told, jpeg = message_of(pictures._made((frame, []), None))
    assert (told["width"], told["height"]) == (WIDTH, HEIGHT)  # of the boxes
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (24, 36, 3)


def test_a_camera_of_one_stream_is_one(fake: type[FakePicamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picamera2_module, "SMALLER", 36)
    monkeypatch.setattr(fake, "streams", 1)
    with open_source(SPEC) as source:
        frame = next(iter(source))
    assert is_the_card(frame.image, exact=True)
    assert frame.smaller is None


def message_of(message: bytes) -> tuple[Any, bytes]:
    length = int.from_bytes(message[:4], "big")
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def test_without_the_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceMissing, match="apt install python3-picamera2.*rpicam:"):
        open_source("picamera2:")


def test_no_camera_and_a_format_that_nobody_knows(fake: type[FakePicamera2]) -> None:
    with pytest.raises(SourceMissing, match="picamera2 3"):
        open_source("picamera2:3")
    fake.format = "SRGGB10_CSI2P"
    with pytest.raises(SourceMissing, match="SRGGB10"):
        open_source(SPEC)
    assert fake.made[-1].calls[-1] == "close"


@pytest.mark.parametrize(
    ("how", "reason"), [("hangs_after", "no frame"), ("gone_after", "timed out"), ("short_after", "bytes")]
)
def test_a_camera_that_hangs_or_goes_or_gives_halves(fake: type[FakePicamera2], how: str, reason: str) -> None:
    setattr(fake, how, 2)
    start = time.monotonic()
    with open_source(SPEC) as source:
        frames = iter(source)
        next(frames)
        next(frames)
        with pytest.raises(SourceLost, match=reason):
            next(frames)
    assert time.monotonic() - start < 5
    assert fake.made[0].calls[-1] == "close"
    assert fake.made[0].held == 0


# rpicam-vid


def program(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program `rpicam-vid` on the path."""
    path = folder / "rpicam-vid"
    script = path.with_suffix(".py")  # called by a shell: no first line holds a path with a space in it
    script.write_text(f"import sys, time\nimport numpy as np\n{body}\n")
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(rpicam_module, "FRAME_S", 0.5)
    monkeypatch.setattr(rpicam_module, "FIRST_FRAME_S", 5.0)


RED_FRAMES = """
options = dict(zip(sys.argv[1::1], sys.argv[2::1]))
w, h = int(options["--width"]), int(options["--height"])
assert options["--codec"] == "yuv420" and options["--output"] == "-" and options["--timeout"] == "0"
planes = (82, w * h), (90, w * h // 4), (240, w * h // 4)
frame = np.concatenate([np.full(size, value, np.uint8) for value, size in planes])
for k in range({count}):
    data = frame.tobytes()
    sys.stdout.buffer.write(data[:1000]); sys.stdout.buffer.flush(); time.sleep(0.01)
    sys.stdout.buffer.write(data[1000:]); sys.stdout.buffer.flush()
{end}
"""


def test_rpicam_gives_red_frames_and_says_why_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = "sys.stderr.write('INFO\\nERROR: camera was unplugged\\n'); sys.exit(1)"
    program(tmp_path, RED_FRAMES.format(count=3, end=end), monkeypatch)
    with open_source("rpicam:1?size=128x96&fps=20") as source:
        frames = []
        with pytest.raises(SourceLost, match="after 3 frames: ERROR: camera was unplugged"):
            for frame in source:
                frames.append(frame)
    assert len(frames) == 3
    assert frames[0].image.shape == (96, 128, 3)
    blue, green, red = frames[0].image.reshape(-1, 3).mean(axis=0)
    assert red > 200
    assert max(blue, green) < 60


def test_rpicam_that_hangs_is_lost_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, RED_FRAMES.format(count=1, end="time.sleep(60)"), monkeypatch)
    source: Any = open_source("rpicam:?size=128x96")
    with source:
        frames = iter(source)
        next(frames)
        with pytest.raises(SourceLost, match="no frame"):
            next(frames)
    assert source._process.returncode is not None


def test_rpicam_without_a_camera_or_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "sys.stderr.write('ERROR: *** no cameras available ***\\n'); sys.exit(255)", monkeypatch)
    with open_source("rpicam:") as source, pytest.raises(SourceMissing, match="no cameras available"):
        next(iter(source))
    with pytest.raises(SourceMissing, match="multiple of 64"):
        open_source("rpicam:?size=100x96")
    (tmp_path / "rpicam-vid").unlink()
    with pytest.raises(SourceMissing, match="apt install"):
        open_source("rpicam:")


# V4L2 by OpenCV


class FakeCapture:
    """As much of cv2.VideoCapture as is used."""

    made: list[FakeCapture]

    def __init__(self, index: int) -> None:
        self.index = index
        self.set_: list[tuple[int, float]] = []
        self.released = 0
        self.left = 3
        type(self).made.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return self.index == 0

    def get(self, _: int) -> float:
        return -1.0

    def set(self, key: int, value: float) -> bool:
        self.set_.append((key, value))
        return True

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, red_card()) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeCapture]]:
    class Fake(FakeCapture):
        made: list[FakeCapture] = []  # noqa: RUF012 - of this test alone

    monkeypatch.setattr(camera_module.cv2, "VideoCapture", Fake)
    return Fake


def test_v4l2_is_asked_for_format_size_and_rate_and_its_unplugging_is_a_loss(capture: type[FakeCapture]) -> None:
    with open_source("camera:0?size=1280x720&fps=15&format=MJPG") as source:
        asked = capture.made[0].set_
        assert [key for key, _ in asked] == [
            cv2.CAP_PROP_FOURCC,  # first: it decides which sizes there are
            cv2.CAP_PROP_FRAME_WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT,
            cv2.CAP_PROP_FPS,
        ]
        assert [value for _, value in asked][1:] == [1280, 720, 15]
        assert asked[0][1] == cv2.VideoWriter.fourcc(*"MJPG")
        frames = []
        with pytest.raises(SourceLost, match="after 3 frames"):
            for frame in source:
                frames.append(frame)
        assert all(is_the_card(frame.image, exact=True) for frame in frames)
    assert capture.made[0].released == 1
    with open_source("0"):
        assert capture.made[1].set_ == []
    with pytest.raises(SourceMissing, match="no such camera"):
        open_source("camera:5")


def test_a_camera_that_another_program_has_is_there(
    capture: type[FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module.os.path, "exists", lambda path: path == "/dev/video5")
    monkeypatch.setattr(camera_module.os, "access", lambda *_: True)
    with pytest.raises(SourceMissing, match="another program has it"):
        open_source("camera:5")
    monkeypatch.setattr(camera_module.os, "access", lambda *_: False)
    with pytest.raises(SourceMissing, match="no permission"):
        open_source("camera:5")


def test_a_camera_by_the_link_that_stays_when_its_number_changes(
    capture: type[FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = "/dev/v4l/by-id/usb-Cam-video-index0"
    with pytest.raises(SourceMissing, match="no such camera"):
        open_source(link)
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == link)
    monkeypatch.setattr(Path, "resolve", lambda path: Path("/dev/video0"))
    with open_source(f"{link}?fps=5"):
        assert capture.made[-1].index == 0
        assert capture.made[-1].set_ == [(cv2.CAP_PROP_FPS, 5)]
    monkeypatch.setattr(Path, "resolve", lambda path: Path("/dev/video3"))
    with pytest.raises(SourceMissing, match="camera 3"):
        open_source(link)


@pytest.mark.parametrize(
    "spec",
    [
        "camera:0?size=x",
        "camera:0?size=0x5",
        "camera:0?fps=0",
        "camera:0?fsp=3",
        "picamera2:x",
        "picamera2:0?size=9",
        "rpicam:a",
    ],
)
def test_wishes_that_are_none(spec: str, capture: type[FakeCapture]) -> None:
    with pytest.raises(ConfigError):
        open_source(spec)


def test_what_counts_as_live_and_as_local(tmp_path: Path) -> None:
    for spec in (
        "0",
        "camera:0?fps=5",
        "/dev/video1",
        "/dev/v4l/by-path/x:1.0-video-index0?fps=5",
        "picamera2:",
        "rpicam:1",
        "gst:videotestsrc",
    ):
        assert is_live(spec)
        assert is_local(spec)
    for spec in ("rtsp://h/s", "http://h/mjpg", "HTTPS://h/s", "srt://h:9", "udp://@:1234"):
        assert is_live(spec)
        assert not is_local(spec)
    for spec in ("clip.mp4", "folder", "http://h/clip.mp4", "https://h/a/b.webm?x=1", "file:///x.mp4", "-", "*.png"):
        assert not is_live(spec)


def test_gstreamer_says_where_it_is_missing() -> None:
    if re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        with open_source("gst:videotestsrc num-buffers=5") as source:
            assert next(iter(source)).image.ndim == 3
    else:
        with pytest.raises(SourceMissing, match="without GStreamer"):
            open_source("gst:videotestsrc")


WITH_DEBIANS_OPENCV = """
import sys
sys.path.insert(0, "/usr/lib/python3/dist-packages")  # whose cv2 has GStreamer; the rest is this environment's
import cv2
sys.path.append(sys.argv[1])
from edge_tracker.errors import SourceLost, SourceMissing
from edge_tracker.video.open import open_source
times = []
try:
    with open_source("gst:videotestsrc num-buffers=20 is-live=true ! video/x-raw,width=64,height=48") as source:
        for frame in source:
            assert frame.image.shape == (48, 64, 3)
            times.append(frame.time_s)
except SourceLost as error:
    print(error)
assert times == sorted(set(times)) and len(times) == 20, times
try:
    open_source("gst:filesrc location=/nonexistent ! decodebin")
except SourceMissing as error:
    print(error)
"""


def test_a_gstreamer_pipeline_with_debians_opencv() -> None:
    """PyPI's wheel has no GStreamer, the distribution's package has."""
    python, here = "/usr/bin/python3", f"{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import cv2, sys; print('%d.%d' % sys.version_info[:2], cv2.getBuildInformation())"
    try:
        known = subprocess.run([python, "-c", probe], capture_output=True, text=True, timeout=60, check=False).stdout
    except OSError:
        known = ""
    if not known.startswith(here) or not re.search(r"GStreamer:\s+YES", known):
        pytest.skip(f"no OpenCV with GStreamer for Python {here}: apt install python3-opencv")
    command = [python, "-c", WITH_DEBIANS_OPENCV, str(Path(np.__file__).parents[1])]
    root = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=root, check=False)
    assert done.returncode == 0, done.stderr
    assert "stopped after 20 frames" in done.stdout
    assert "does not start" in done.stdout


def test_parts() -> None:
    assert parsed_camera("picamera2:") == (0, CaptureSettings())
    assert parsed_camera("picamera2:1?fps=5&size=4x2") == (1, CaptureSettings("4x2", 5.0))
    data = np.arange(40, dtype=np.uint8)
    np.testing.assert_array_equal(
        without_padding(data, 2, 2, 3, 20).reshape(-1), [0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25]
    )
    image = yuv420_to_bgr(padded_yuv(red_card(), 128), WIDTH, HEIGHT, 128)
    assert is_the_card(image, exact=False)
