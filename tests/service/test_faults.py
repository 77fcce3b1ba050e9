"""The command as people start it, and what happens to it: signals, taken ports, hangs, sudden death.

EDGE_TRACKER_LONG=1 kills it 100 times at random moments instead of 4.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.cli import live
from edge_tracker.cli import main as command
from edge_tracker.errors import OutputError
from edge_tracker.service.config import CameraConfig, PageConfig, ServiceConfig, TrackerConfig
from edge_tracker.service.notify import Supervisor
from edge_tracker.service.service import Service, named_outputs
from tests.service.scenes import BLUE, RED, scene
from tests.service.servers import MjpegCamera, command_line, free_port, wait_until

KILLS = 100 if os.environ.get("EDGE_TRACKER_LONG") else 4


@pytest.fixture(scope="module")
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera([scene([(RED, 60, 80), (BLUE, 200, 160)], noise=k) for k in range(5)])
    yield camera
    camera.close()


class Lines:
    """What a process writes to standard error, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.text = ""
        self._stream: Any = process.stderr
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            self.text += line


def test_a_camera_without_a_target_starts_the_page_and_says_where(camera: MjpegCamera) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    with command_line("--source", camera.url) as process:
        lines = Lines(process)
        wait_until(lambda: "choose and watch on http://127.0.0.1:" in lines.text, 30, "the address")
        (port,) = re.findall(r"127\.0\.0\.1:(\d+)/", lines.text)
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
            connection.sendall(b"GET /api/cameras HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
        assert b"200 OK" in answer
        # a second one takes another port, unless that one was asked for
        with command_line("--source", camera.url, "--web", port) as second:
            _, error = second.communicate(timeout=60)
            assert second.returncode == 2
            assert "cannot listen" in error
            assert error.count("\n") == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_its_files_whole(camera: MjpegCamera, tmp_path: Path, number: int) -> None:
    files = [tmp_path / "tracks.jsonl", tmp_path / "tracks.mp4"]
    outputs = [text for path in files for text in ("-o", str(path))]
    state = tmp_path / "state.json"
    boxes = ["--init", "red=38,58,44,44", "--init", "178,138,44,44"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and so it would be there
    try:
        with command_line("--source", camera.url, *boxes, "--state", str(state), *outputs) as process:
            partial = tmp_path / "tracks.partial.jsonl"
            wait_until(lambda: partial.exists() and partial.stat().st_size > 3000, 60, "some lines")
            process.send_signal(number)
            assert process.wait(30) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    records = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert {record["target"] for record in records} == {"red", "target 2"}
    assert all(abs(record["taken_at"] - time.time()) < 120 for record in records)
    with av.open(str(files[1])) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(records) // 2
    assert {each["name"] for each in json.loads(state.read_text())["cameras"]["camera"]} == {"red", "target 2"}
    assert not list(tmp_path.glob("*.partial.*"))


def test_killed_at_any_moment_every_file_with_its_final_name_is_whole(camera: MjpegCamera, tmp_path: Path) -> None:
    chance = random.Random(1)
    state = tmp_path / "state.json"
    config = tmp_path / "camera.toml"
    config.write_text(
        f'state = "{state}"\n[[camera]]\nsource = "{camera.url}"\ninit = ["red=38,58,44,44"]\n'
        f'output = ["log:{tmp_path}?megabytes=0.002&files=1000", "record:{tmp_path}?before=0&minutes=0.01"]\n'
        "watch.save_every_s = 0.05\n"
    )
    for _ in range(KILLS):
        with command_line("serve", str(config)) as process:
            before = set(tmp_path.iterdir())
            wait_until(lambda: set(tmp_path.iterdir()) - before, 60, "a file")  # noqa: B023
            time.sleep(chance.uniform(0, 2))
            process.kill()
    logs = [path for path in tmp_path.glob("*.jsonl") if ".partial" not in path.name]
    assert logs
    for path in logs:
        for line in path.read_text().splitlines():
            json.loads(line)
    for path in tmp_path.glob("*.partial.jsonl"):  # the last line, at most, is cut
        *whole, _ = path.read_text().split("\n")
        for line in whole:
            json.loads(line)
    for path in tmp_path.glob("*.mp4"):
        if ".partial" not in path.name:
            with av.open(str(path)) as container:
                assert sum(1 for _ in container.decode(video=0)) > 0
    if state.exists():
        assert "cameras" in json.loads(state.read_text())


def test_a_step_that_hangs_ends_the_process(camera: MjpegCamera, tmp_path: Path) -> None:
    """In a process of its own, as it is ended at once."""
    script = (
        "import sys, time\n"
        "from edge_tracker.tracker import Tracker\n"
        "Tracker.update = lambda self, image: time.sleep(1000)\n"
        "from edge_tracker.cli import main\n"
        "sys.exit(main())\n"
    )
    config = tmp_path / "camera.toml"
    config.write_text(f'hang_s = 1.5\n[[camera]]\nsource = "{camera.url}"\ninit = ["38,58,44,44"]\n')
    done = subprocess.run(
        [sys.executable, "-c", script, "serve", str(config)], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == live.HANGS
    assert "has been computing" in done.stderr
    assert "Thread" in done.stderr  # where it hangs, for whoever is to mend it


def test_a_second_signal_ends_what_hangs_at_once(camera: MjpegCamera) -> None:
    code = f"""
import time
from edge_tracker.service.targets import Targets
from edge_tracker.cli import main
def hangs(self, image):
    print("hangs", flush=True)
    time.sleep(120)
Targets.update = hangs
main(["--source", {camera.url!r}, "--init", "38,58,44,44"])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
        assert time.monotonic() - start < 4


def test_programs_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """One that stayed would keep the camera or the port."""
    flags = [tmp_path / "one", tmp_path / "two"]
    for flag in flags:
        os.mkfifo(flag)
    code = f"""
import time
from edge_tracker.service.detections import ProgramChooser
from edge_tracker.video.program import start_program
chooser = ProgramChooser("sh -c 'exec sleep 100 > {flags[0]}'")
program = start_program("sh", ["-c", "exec sleep 100 > {flags[1]}"])
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        pipes = [flag.open("rb", buffering=0) for flag in flags]  # when both have begun
        process.kill()
    for pipe in pipes:
        with pipe:
            assert select.select([pipe], [], [], 20)[0]  # its end
            assert pipe.read() == b""


def test_a_local_camera_that_is_not_there_does_not_keep_the_others_waiting(camera: MjpegCamera) -> None:
    config = ServiceConfig(
        (CameraConfig("camera:63", "gone"), CameraConfig(camera.url, "there")), page=PageConfig(None)
    )
    service = Service(config, pytest.fail)
    thread = threading.Thread(target=service.run)
    thread.start()
    gone, there = service.watches
    wait_until(lambda: there.status().source_state == "live", 15, "the other")
    wait_until(lambda: "camera 63" in gone.status().source_reason, 15, "a reason")
    service.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_outputs_that_differ_in_a_secret_alone_are_all_written(tmp_path: Path) -> None:
    specs = ["https://h/hook?token=a", "https://h/hook?token=b", str(tmp_path / "x.csv")]
    outputs: list[Any] = [object(), object(), object()]
    named = named_outputs(specs, outputs)
    assert list(named.values()) == outputs
    assert list(named)[:2] == ["https://h/hook?token=***", "https://h/hook?token=*** (2)"]


def test_what_is_read_is_not_taken_for_the_state_and_set_aside(camera: MjpegCamera, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    shutil.copy(PACKAGED / "edge-small.onnx", model)
    shutil.copy(PACKAGED / "edge-small.onnx.json", tmp_path / "model.onnx.json")
    before = sorted(path.name for path in tmp_path.iterdir())
    config = ServiceConfig((CameraConfig(camera.url),), page=PageConfig(None), state=str(model))
    with pytest.raises(OutputError, match="is not a state: it is left as it is"):
        Service(replace(config, tracker=TrackerConfig(model=str(model))), pytest.fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_local_camera_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--camera", "63", "--init", "1,2,30,40"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "camera 63" in error


def test_one_camera_of_two_fails_and_the_other_goes_on(camera: MjpegCamera, tmp_path: Path) -> None:
    lines = tmp_path / "good.jsonl"
    config = ServiceConfig(
        (
            CameraConfig(camera.url, "bad", init=("5000,5000,10,10",)),
            CameraConfig(camera.url, "good", init=("38,58,44,44",), output=(str(lines),)),
        ),
        page=PageConfig(None),
    )
    service = Service(config, pytest.fail)
    errors: list[Exception] = []

    def run() -> None:
        try:
            service.run()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    bad, good = service.watches
    wait_until(lambda: bad.ended, 15, "the end of the bad one")
    updates = good.status().updates
    wait_until(lambda: good.status().updates > updates + 5, 15, "more frames of the good one")
    service.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert "lies outside" in str(errors[0])
    assert len(lines.read_text().splitlines()) == good.status().updates


def test_nothing_stays_open_when_a_part_cannot_be_started(camera: MjpegCamera, tmp_path: Path) -> None:
    before = threading.active_count()
    port = free_port()
    for part in (
        {"output": ("none/x.jsonl",)},
        {"init": ("motion", "detector:x")},
        {"init": ("detector:/no/such/program",)},
        {"source": "missing.mp4"},
    ):
        config = ServiceConfig(
            (
                CameraConfig(camera.url, "well", output=(str(tmp_path / "x.csv"),)),
                CameraConfig(**({"source": camera.url, "name": "ill"} | part)),  # type: ignore[arg-type]
            ),
            page=PageConfig(str(port)),
        )
        with pytest.raises(Exception, match=r"none|several|started|missing"):
            Service(config, pytest.fail)
        wait_until(lambda: threading.active_count() <= before + 2, 15, "the end of the threads")
        assert list(tmp_path.iterdir()) == []


def test_systemd_is_told_that_we_are_ready_alive_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, camera: MjpegCamera
) -> None:
    address = tmp_path / "notify"
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(0.1)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "1500000")
        config = ServiceConfig((CameraConfig(camera.url, init=("38,58,44,44",)),), page=PageConfig(None))
        service = Service(config, pytest.fail)
        thread = threading.Thread(target=service.run)
        thread.start()
        end = time.monotonic() + 15
        while time.monotonic() < end and told.count("WATCHDOG=1") < 3:
            try:
                told.append(systemd.recv(100).decode())
            except TimeoutError:
                continue
        service.stop()
        thread.join(20)
        while True:
            try:
                told.append(systemd.recv(100).decode())
            except TimeoutError:
                break
    assert told[0] == "READY=1"
    assert told.count("WATCHDOG=1") >= 3
    assert "STOPPING=1" in told
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    Supervisor().ready()  # nobody listens: no harm
