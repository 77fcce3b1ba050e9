"""A disk that is really full, folders that go, sudden death and a clock that jumps: the process as people start it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from edge_tracker.methods import prepare
from edge_tracker.outputs.folder import LogOutput
from edge_tracker.service.targets import Targets
from edge_tracker.service.watch import Watch
from tests.service.scenes import BLUE, RED, box_at, scene
from tests.service.servers import MjpegCamera, command_line, wait_until
from tests.service.test_faults import Lines
from tests.service.test_watch import Notes, Running, live


@pytest.fixture(scope="module")
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera([scene([(RED, 60, 80), (BLUE, 200, 160)], noise=k) for k in range(5)])
    yield camera
    camera.close()


INIT = 'init = ["red=38,58,44,44"]'


class SmallDisk:
    """`edge-track serve CONFIG` where `disk` is a file system of its own, of `size_kb`, that outlives the process."""

    def __init__(self, config: Path, disk: Path, size_kb: int) -> None:
        pid, rc = config.with_suffix(".pid"), config.with_suffix(".rc")
        script = (
            'mount -t tmpfs -o "size=$1k" tmpfs "$2" || exit 99; "$3" -m edge_tracker serve "$4" & '
            'echo $! >"$5.new"; mv "$5.new" "$5"; wait $!; echo $? >"$6.new"; mv "$6.new" "$6"; read -r _'
        )
        places = [str(size_kb), str(disk), sys.executable, str(config), str(pid), str(rc)]
        namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        pipe = subprocess.PIPE
        command = [*namespace, "sh", "-c", script, "sh", *places]
        self._shell = subprocess.Popen(command, stdin=pipe, stderr=pipe, stdout=subprocess.DEVNULL, text=True)
        self.lines = Lines(self._shell)
        wait_until(lambda: pid.exists() or self._shell.poll() is not None, 30, "the process")
        if self._shell.poll() is not None:
            pytest.skip("no file system of its own can be had here")
        self.pid, self._rc = int(pid.read_text()), rc
        self.inside = Path(f"/proc/{self._shell.pid}/root{disk}")

    def end(self) -> int:
        """SIGTERM; the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        wait_until(self._rc.exists, 40, "the end")
        return int(self._rc.read_text())

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self._rc.exists():
                os.kill(self.pid, signal.SIGKILL)
        self._shell.communicate()


@pytest.fixture
def small_disk(camera: MjpegCamera, tmp_path: Path) -> Iterator[SmallDisk]:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: apt install util-linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    config = tmp_path / "camera.toml"
    config.write_text(
        f'state = "{disk}/state.json"\n[[camera]]\nsource = "{camera.url}"\n{INIT}\nwatch.save_every_s = 0.1\n'
        f'output = ["{disk}/all.jsonl", "log:{disk}?megabytes=0.002&files=1000", "record:{disk}?before=0&minutes=0.02",'
        f' "{tmp_path}/elsewhere.csv"]\n'
    )
    process = SmallDisk(config, disk, size_kb=600)
    yield process
    process.close()


def test_a_disk_that_is_full_is_told_and_tracking_goes_on(small_disk: SmallDisk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.partial.csv"

    def rows() -> int:
        return len(elsewhere.read_text().splitlines()) if elsewhere.exists() else 0

    wait_until(lambda: rows() > 20, 60, "some rows")
    with contextlib.suppress(OSError), (small_disk.inside / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1024))
    wait_until(lambda: small_disk.lines.text.count("No space left") >= 2, 30, "a word about it")
    full_at = rows()
    wait_until(lambda: rows() > full_at + 50, 30, "rows elsewhere")
    (small_disk.inside / "filler").unlink()
    wait_until(lambda: small_disk.lines.text.count("is back") >= 2, 30, "the outputs")
    back_at = rows()
    wait_until(lambda: rows() > back_at + 30, 30, "rows elsewhere")
    assert small_disk.end() == 0
    assert small_disk.lines.text.count("No space left") < 10, "once for each output and outage"
    indices = [int(row.split(",")[0]) for row in (tmp_path / "elsewhere.csv").read_text().splitlines()[1:]]
    files = [path for path in small_disk.inside.iterdir() if ".partial" not in path.name]
    kept = [json.loads(line) for path in files if path.suffix == ".jsonl" for line in path.read_text().splitlines()]
    assert {record["target"] for record in kept} == {"red"}
    assert max(record["index"] for record in kept) >= indices[back_at]
    for path in files:
        if path.suffix == ".mp4":
            with av.open(str(path)) as container:
                assert sum(1 for _ in container.decode(video=0)) > 0
    assert json.loads((small_disk.inside / "state.json").read_text())["cameras"]


def test_a_folder_that_is_removed_costs_its_files_alone(camera: MjpegCamera, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    config = tmp_path / "camera.toml"
    config.write_text(
        f'state = "{folder}/state.json"\n[[camera]]\nsource = "{camera.url}"\n{INIT}\nwatch.save_every_s = 0.1\n'
        f'output = ["{folder}/all.jsonl", "log:{folder}", "record:{folder}?before=0&minutes=0.02", '
        f'"{tmp_path}/elsewhere.csv"]\n'
    )
    elsewhere = tmp_path / "elsewhere.partial.csv"
    with command_line("serve", str(config)) as process:
        lines = Lines(process)
        wait_until(lambda: elsewhere.exists() and elsewhere.stat().st_size > 2000, 60, "some rows")
        shutil.rmtree(folder.rename(tmp_path / "gone"))  # so that nothing new is written there meanwhile
        before = elsewhere.stat().st_size
        wait_until(lambda: elsewhere.stat().st_size > before + 2000, 30, "rows elsewhere")
        wait_until(lambda: "tracking goes on" in lines.text and "cannot be kept" in lines.text, 30, "a word")
        folder.mkdir()
        wait_until(lambda: list(folder.glob("*.partial.jsonl")), 30, "a new log")
        wait_until((folder / "state.json").exists, 30, "the state")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, 40, "the end")
        assert process.returncode == 2  # of all.jsonl nothing is left
    assert "all.jsonl" in lines.text
    assert "Traceback" not in lines.text
    assert (tmp_path / "elsewhere.csv").exists()
    (log,) = folder.glob("*.jsonl")
    assert all(json.loads(line)["target"] == "red" for line in log.read_text().splitlines())
    assert (folder / "state.json").exists()


def test_what_was_followed_when_it_was_killed_is_followed_again(camera: MjpegCamera, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    common = ["--source", camera.url, "--state", str(state), "--quiet"]
    with command_line(*common, "--init", "red=38,58,44,44") as process:
        wait_until(lambda: state.exists() and "red" in state.read_text(), 60, "the state")
        process.kill()
    lines = tmp_path / "again.jsonl"
    with command_line(*common, "--web", "0", "-o", str(lines)) as process:
        partial = tmp_path / "again.partial.jsonl"
        wait_until(lambda: partial.exists() and partial.stat().st_size > 2000, 60, "the target")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    last = json.loads(lines.read_text().splitlines()[-1])
    assert last["target"] == "red"
    assert last["state"] == "TRACKED"
    assert abs(last["box"][0] - 38) < 6


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_the_machines_clock_jumps_and_nothing_else_does(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a Pi without a clock of its own learns the time."""
    notes = Notes()
    images = [scene([(RED, 60, 80)], noise=k) for k in range(4)]
    log = LogOutput(f"{tmp_path}?hours=1")
    watch = Watch(
        "c", live(images), Targets(prepare("fast")), {"n": notes, "log": log}, first=[("red", box_at(60, 80))]
    )
    real = time.time
    with Running(watch):
        wait_until(lambda: len(notes.frames) > 10, 10, "some frames")
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        wait_until(lambda: len(notes.frames) > 30, 10, "more frames")
        latency = watch.status().latency_s
        assert watch.status().updates_per_s > 1
    assert latency is not None
    assert 0 <= latency < 2
    assert watch.source.reconnects == 0  # type: ignore[attr-defined]
    times = [frame.time_s for frame in notes.frames]
    assert times == sorted(set(times))
    assert times[-1] < 60
    assert len(list(tmp_path.glob("*.jsonl"))) == 1  # no file is full for it
