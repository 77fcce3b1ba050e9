"""Real servers that die, freeze and come back. EDGE_TRACKER_LONG=1 kills the RTSP server 50 times instead of 3."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_tracker.cli import main
from edge_tracker.errors import SourceMissing
from edge_tracker.video import stream
from edge_tracker.video.latest import LatestSource, LiveSettings, give_back
from edge_tracker.video.open import check_source, open_source
from edge_tracker.video.source import Frame
from edge_tracker.video.urls import masked
from tests.service.scenes import RED, scene
from tests.service.servers import (
    FfmpegServer,
    MjpegCamera,
    RtspCamera,
    TlsDoor,
    certificate,
    descriptors,
    free_port,
    need_rtsp,
    wait_until,
)

KILLS = 50 if os.environ.get("EDGE_TRACKER_LONG") else 3
RECOVERY_S = 10.0  # after the server is there again
SETTINGS = LiveSettings(frame_timeout_s=2.0, first_wait_s=0.5, longest_wait_s=2.0)


def memory_mb() -> float:
    """Resident memory of this process, what is freed given back."""
    gc.collect()
    give_back()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watcher:
    """Takes all frames of a source in a thread, as a service does, and keeps the figures."""

    def __init__(self, url: str, settings: LiveSettings = SETTINGS) -> None:
        self.source = LatestSource(lambda: open_source(url), masked(url), settings)
        self.frames = 0
        self.newest: Frame | None = None
        self.fell = 0
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        for frame in self.source:
            if self.newest is not None and frame.time_s <= self.newest.time_s:
                self.fell += 1
            self.newest, self.frames = frame, self.frames + 1

    def wait_for_new(self, timeout_s: float) -> float:
        """Seconds until frames come that were not there at the call."""
        seen = self.frames
        return wait_until(lambda: self.frames >= seen + 3, timeout_s, "a frame")

    def close(self) -> None:
        self.source.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def http_camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera([scene([(RED, 60 + 4 * k, 100)], noise=k) for k in range(10)])
    yield camera
    camera.close()


def test_http_is_watched_frozen_and_thawed(http_camera: MjpegCamera) -> None:
    watcher = Watcher(http_camera.url)
    watcher.wait_for_new(15)
    http_camera.frozen.set()
    wait_until(lambda: watcher.source.state == "away", 5, "the state away")
    assert "no frame" in watcher.source.reason
    http_camera.frozen.clear()
    watcher.wait_for_new(RECOVERY_S)
    assert watcher.source.state == "live"
    assert watcher.fell == 0
    watcher.close()


def test_http_dies_and_comes_back_at_another_size(http_camera: MjpegCamera) -> None:
    watcher = Watcher(http_camera.url)
    watcher.wait_for_new(15)
    port = http_camera.port
    http_camera.close()
    wait_until(lambda: watcher.source.state == "away", 6, "the state away")
    images = [scene([(RED, 60, 100)], noise=k).repeat(2, axis=0).repeat(2, axis=1) for k in range(3)]
    again = MjpegCamera(images, fps=10, port=port)
    try:
        watcher.wait_for_new(RECOVERY_S)
        assert watcher.newest is not None
        assert watcher.newest.image.shape == (480, 640, 3)
        assert watcher.fell == 0
    finally:
        watcher.close()
        again.close()


def test_rtsp_is_killed_frozen_and_restarted_again_and_again() -> None:
    need_rtsp()
    port = free_port()
    camera = RtspCamera(port)
    watcher = Watcher(camera.url)
    recoveries = []
    try:
        wait_until(lambda: watcher.frames >= 3, 20, "the first frame")
        counted: tuple[int, int, float] | None = None
        for kill in range(KILLS):
            freeze = kill % 5 == 2
            if freeze:  # alive, and no frames
                camera.freeze()
            else:
                camera.kill()
            wait_until(lambda: watcher.source.state == "away", 15, "the state away")
            if freeze:
                camera.thaw()
            else:  # every other time at another size and rate; the server's clock begins anew each time
                width, height, fps = ((640, 480, 15), (320, 240, 25))[kill % 2]
                camera = RtspCamera(port, width, height, fps)
            recoveries.append(watcher.wait_for_new(RECOVERY_S))
            wait_until(lambda: watcher.source.stuck == 0, 15, "the end of readers that were left behind")
            if kill == min(KILLS - 1, 4):  # what is loaded once is loaded
                counted = descriptors(), threading.active_count(), memory_mb()
        assert watcher.fell == 0
        assert watcher.source.reconnects >= KILLS
        assert counted is not None
        assert descriptors() <= counted[0] + 1
        assert threading.active_count() <= counted[1]
        assert memory_mb() <= counted[2] + 10
        print(
            f"{KILLS} times: back within {max(recoveries):.1f} s, median {sorted(recoveries)[KILLS // 2]:.1f} s; "
            f"descriptors {counted[0]} -> {descriptors()}, threads {counted[1]} -> {threading.active_count()}, "
            f"memory {counted[2]:.0f} -> {memory_mb():.0f} MB"
        )
    finally:
        watcher.close()
        camera.kill()


def test_a_stream_that_is_not_there_yet_is_waited_for() -> None:
    need_rtsp()
    port = free_port()
    watcher = Watcher(f"rtsp://user:secret@127.0.0.1:{port}/test")
    wait_until(lambda: watcher.source.state == "away", 15, "the state away")
    assert "secret" not in watcher.source.reason
    time.sleep(0.2)
    camera = RtspCamera(port)
    try:
        watcher.wait_for_new(15)
    finally:
        watcher.close()
        camera.kill()


@pytest.mark.parametrize(
    ("scheme", "there", "here"),
    [
        ("srt", "srt://127.0.0.1:{port}?mode=listener&passphrase=hush-hush-42", "?passphrase=hush-hush-42"),
        ("udp", "udp://127.0.0.1:{port}?pkt_size=1316", ""),
    ],
)
def test_srt_and_udp_are_read_lost_and_found_again(
    scheme: str, there: str, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "READ_TIMEOUT_S", 2.0)
    monkeypatch.setattr(stream, "OPEN_TIMEOUT_S", 5.0)
    port = free_port()
    server = FfmpegServer(there.format(port=port), scheme)
    watcher = Watcher(f"{scheme}://127.0.0.1:{port}{here}")
    try:
        watcher.wait_for_new(30)
        assert watcher.newest is not None
        assert watcher.newest.image.shape == (240, 320, 3)
        server.kill()
        wait_until(lambda: watcher.source.state == "away", 20, "the state away")
        assert "hush" not in watcher.source.reason
        server = FfmpegServer(there.format(port=port), scheme)
        watcher.wait_for_new(20)
        wait_until(lambda: watcher.source.stuck == 0, 15, "the end of readers that were left behind")
        assert watcher.fell == 0
    finally:
        watcher.close()
        server.kill()


def test_srt_that_is_not_there_or_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"srt://127.0.0.1:{free_port()}?passphrase=hush-hush-42"
    with pytest.raises(SourceMissing, match=r"cannot open srt://127.0.0.1:\d+\?passphrase=\*\*\*: \w") as caught:
        open_source(address)
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceMissing, match=r"without srt: apt install ffmpeg|refused|error"):
        open_source(address)


@pytest.mark.parametrize(
    ("address", "says"),
    [("rstp://cam/x", "did you mean rtsp://"), ("foo://u:hush@x", "spelt right"), ("RPICAM:0", "no file or folder")],
)
def test_what_nothing_can_ever_open_is_not_tried_again(
    address: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[[camera]]\nsource = "{address}"\n')
    checked = [] if address == "RPICAM:0" else [["config", "check", str(config)]]
    for arguments in (*checked, ["serve", str(config)], ["--source", address, "--init", "1,2,3,4"]):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
        assert "hush" not in line


@pytest.mark.parametrize("known", [True, False])
def test_what_ffmpeg_alone_may_know_is_asked_of_it(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    listed = "  srt" if known else "  file"
    program.write_text(f"#!/bin/sh\necho 'Supported file protocols:\nInput:\n{listed}\nOutput:\n  srt'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    if known:
        check_source("srt://nobody:1")
    else:
        with pytest.raises(SourceMissing, match="without srt, and so was"):
            check_source("srt://nobody:1")


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "RTSP", "http", "https", "udp", "rtp", "rtmp", "tcp"])
def test_a_known_protocol_is_known_without_a_connection(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    check_source(f"{scheme}://192.0.2.1/x")


def test_a_camera_by_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = certificate(tmp_path)
    camera = MjpegCamera([scene([(RED, 60, 100)])], certificate=own)
    try:
        with open_source(camera.url) as source:
            assert next(iter(source)).image.shape == (240, 320, 3)
        monkeypatch.setenv(stream.CA, str(own))  # whom it trusts
        with open_source(camera.url) as source:
            assert next(iter(source)).image.shape == (240, 320, 3)
        (tmp_path / "other").mkdir()
        monkeypatch.setenv(stream.CA, str(certificate(tmp_path / "other")))
        with pytest.raises(SourceMissing, match="cannot open https"):
            open_source(camera.url)
    finally:
        camera.close()


def test_a_camera_by_rtsps_is_lost_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_rtsp()
    own = certificate(tmp_path)
    monkeypatch.setenv(stream.CA, str(own))
    port = free_port()
    camera = RtspCamera(port)
    door = TlsDoor(own, port)
    watcher = Watcher(f"rtsps://user:hush@127.0.0.1:{door.port}/test")
    try:
        watcher.wait_for_new(20)
        camera.freeze()
        wait_until(lambda: watcher.source.state == "away", 15, "the state away")
        camera.thaw()
        watcher.wait_for_new(RECOVERY_S)
        assert watcher.fell == 0
        (tmp_path / "other").mkdir()
        monkeypatch.setenv(stream.CA, str(certificate(tmp_path / "other")))
        with pytest.raises(SourceMissing, match="cannot open rtsps") as caught:
            open_source(f"rtsps://user:hush@127.0.0.1:{door.port}/test")
        assert "hush" not in str(caught.value)
    finally:
        watcher.close()
        door.close()
        camera.kill()
