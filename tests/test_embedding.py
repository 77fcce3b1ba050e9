"""The examples of docs/embedding.md are run as they stand there; docs/service.md's and deploy/'s are parsed."""

from __future__ import annotations

import configparser
import io
import re
import shlex
import subprocess
import sys
import threading
import time
import types
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tracker.cli.main import build_parser
from edge_tracker.service.config import load_config
from edge_tracker.service.detections import DetectorSettings, ProgramChooser
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame
from tests.conftest import ROOT, write_video
from tests.service.scenes import BLUE, RED, box_at, scene
from tests.service.servers import Broker, free_port, wait_until

EMBEDDING = ROOT / "docs" / "embedding.md"


def example(name: str, path: Path = EMBEDDING) -> str:
    """The fenced block behind the comment `<!-- name -->`."""
    match = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    assert match is not None, name
    return match[1]


IMAGES = [scene([(RED, 82 + 3 * k, 80), (BLUE, 200, 160)], noise=k) for k in range(21)]


def test_opencv_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "clip.mp4", IMAGES)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(example("opencv"), space)
    track = space["track"]
    assert track.state is TrackState.TRACKED
    assert np.hypot(track.box[0] + 22 - (82 + 60), track.box[1] + 22 - 80) < 5


def test_behind_a_detector() -> None:
    asked = []

    def detect(frame: np.ndarray) -> list[tuple[float, float, float, float]]:
        asked.append(frame)
        x = 82 + 3 * next(k for k, image in enumerate(IMAGES) if image is frame)
        return [box_at(x, 80), box_at(200, 160)]

    space: dict[str, Any] = {"frames": IMAGES, "detect": detect}
    exec(example("detector"), space)
    assert len(asked) == 3
    tracks = space["targets"].tracks
    assert len(tracks) == 2
    assert abs(tracks[0].box[0] + 22 - (82 + 60)) < 5


def test_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the real package where it is installed, else against its constructor's shape."""
    if "supervision" not in sys.modules:
        try:
            import supervision  # noqa: F401
        except ImportError:
            module: Any = types.ModuleType("supervision")
            module.Detections = types.SimpleNamespace
            monkeypatch.setitem(sys.modules, "supervision", module)
    space: dict[str, Any] = {}
    exec(example("supervision"), space)
    tracks = [Track((1, 2, 30, 40), 0.9, TrackState.TRACKED, "a"), Track((5, 5, 5, 5), 0.1, TrackState.LOST, "b")]
    found = space["detections"](tracks)
    np.testing.assert_array_equal(found.xyxy, [[1, 2, 31, 42]])
    assert found.confidence.tolist() == [0.9]
    assert found.tracker_id.tolist() == [0]
    assert space["detections"]([]).xyxy.shape == (0, 4)
    assert space["detections"]([Track((1, 2, 3, 4), 0.5, TrackState.UNCERTAIN, "c")]).tracker_id.tolist() == [1]


def test_a_detector_program(tmp_path: Path) -> None:
    path = tmp_path / "detect.py"
    path.write_text(example("program"))
    chooser = ProgramChooser(shlex.join([sys.executable, str(path)]), DetectorSettings(every=1))
    found: list[Any] = []
    end = time.monotonic() + 20
    while not found and time.monotonic() < end:
        found = chooser.propose(Frame(0, 0.0, IMAGES[0]), [])
        time.sleep(0.02)
    chooser.close()
    assert [box for _, box in found] == [(10, 20, 30, 40)]


class Sample:
    """As much of Gst.Sample as the example uses; rows padded to four bytes."""

    def __init__(self, image: np.ndarray) -> None:
        self.height, self.width = image.shape[:2]
        self.stride = -(-self.width * 3 // 4) * 4
        self.data = np.full((self.height, self.stride), 9, np.uint8)
        self.data[:, : self.width * 3] = image.reshape(self.height, -1)

    def get_caps(self) -> Any:
        structure = types.SimpleNamespace(get_value=lambda name: getattr(self, name))
        return types.SimpleNamespace(get_structure=lambda _: structure)

    def get_buffer(self) -> Any:
        size = self.data.size
        return types.SimpleNamespace(get_size=lambda: size, extract_dup=lambda _, n: self.data.tobytes()[:n])


def test_gstreamer_appsink() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    seen: list[np.ndarray] = []
    tracker = types.SimpleNamespace(update=lambda i: seen.append(i) or Track((1, 2, 3, 4), 0.9, TrackState.TRACKED))
    space: dict[str, Any] = {"tracker": tracker}
    exec(example("gstreamer"), space)
    with redirect_stdout(io.StringIO()) as said:
        assert space["on_sample"](types.SimpleNamespace(emit=lambda _: Sample(image))) == 0
    np.testing.assert_array_equal(seen[0], image)
    assert "TRACKED" in said.getvalue()


def test_the_mqtt_consumer(tmp_path: Path) -> None:
    publish = pytest.importorskip("paho.mqtt.publish", reason="paho-mqtt is not installed")
    broker = Broker(tmp_path, free_port())
    try:
        text = example("consumer").replace("port=1883", f"port={broker.port}")
        process = subprocess.Popen([sys.executable, "-u", "-c", text], stdout=subprocess.PIPE, text=True)
        said: list[str] = []
        stream: Any = process.stdout
        threading.Thread(target=lambda: said.extend(stream), daemon=True).start()

        def told() -> bool:
            payload = '{"target": "cat", "state": "LOST", "box": [1, 2, 3, 4]}'
            publish.single("edge-tracker/c/target/cat", payload, hostname="127.0.0.1", port=broker.port)
            publish.single("edge-tracker/c/target/dog", "", hostname="127.0.0.1", port=broker.port)
            time.sleep(0.3)
            return bool(said)

        wait_until(told, 20, "the message")
        process.kill()
        process.wait()
        assert said[0] == "cat LOST [1, 2, 3, 4]\n"
    finally:
        broker.kill()


COMMANDS = [
    (path.name, line)
    for path in (EMBEDDING, ROOT / "docs" / "service.md")
    for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("edge-track ")
]


@pytest.mark.parametrize(("path", "line"), COMMANDS)
def test_commands_of_the_docs_are_understood(path: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words if not words[0].startswith("-") else ["track", *words]
    args = build_parser().parse_args(words)
    assert callable(args.run)


def test_the_configuration_that_is_shipped_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "deploy" / "edge-tracker.toml"
    for name in re.findall(r"\$\{(\w+)\}", path.read_text()):
        monkeypatch.setenv(name, "a-value-of-enough-letters")
    config = load_config(path)
    assert config.page.token is not None
    assert [wish.kind for wish in config.camera[0].wishes] == ["motion"]


def test_the_unit_has_its_lock_and_its_watchdog() -> None:
    class Unit(configparser.RawConfigParser):
        optionxform = staticmethod(str)  # type: ignore[assignment]

    unit = Unit(strict=False)
    unit.read(ROOT / "deploy" / "edge-tracker.service")
    service = dict(unit["Service"])
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 10  # the process ends by itself before that
    assert service["Restart"] == "always"
    for lock in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictSUIDSGID", "DynamicUser", "LockPersonality"):
        assert service[lock] == "yes"
    assert service["ProtectSystem"] == "strict"
    words = shlex.split(service["ExecStart"])[1:]
    assert callable(build_parser().parse_args(words).run)


def test_the_container_runs_as_nobody_with_a_read_only_root() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    assert re.search(r"^USER 65534:65534$", text, re.MULTILINE)
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    # What the sample configuration writes lies on the volume.
    settings = (ROOT / "deploy" / "edge-tracker.toml").read_text()
    written = re.findall(r'^state = "(/[^"]+)"|"log:(/[^"?]+)', settings, re.MULTILINE)
    mounted = re.search(r"- state:(/\S+)", compose)
    assert len(written) == 2
    assert mounted is not None
    assert all("".join(path).startswith(mounted[1]) for path in written)
    for line in ("read_only: true", 'user: "65534:65534"', "cap_drop: [ALL]", "no-new-privileges:true"):
        assert line in compose
