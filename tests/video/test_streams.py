"""Network streams, against real servers on loopback, and what messages may show of a URL."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import cv2
import pytest

from edge_tracker.errors import SourceLost, SourceMissing
from edge_tracker.video import open_source
from edge_tracker.video.urls import escaped, masked
from tests.conftest import Clip

SECRETS = ["secret", "pa/ss", "p@ss", "p?s", "p#s", "a@b/c@d", "1/2", "pa ss", "p&x=y", "%40"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "url",
    [
        "rtsp://user:{}@host/x",
        "rtsp://user:{}@host:554/x?a=1",
        "rtsp://:{}@host",
        "rtsp://user:{}@host/x@y",
        "RTSP://user:{}@host",
    ],
)
def test_no_part_of_a_password_is_shown(url: str, secret: str) -> None:
    shown = masked(url.format(secret))
    assert shown.lower().startswith("rtsp://")
    assert "user" not in shown
    rest = re.sub(r"^\w+://(host(:554)?(/x(\?a=1)?)?|y)?$", "", shown)
    assert rest == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://a:b@host/x", "rtsp://host/x"),
        ("http://host/a@b", "http://host/a@b"),
        ("http://host/x?user=admin&pwd=secret", "http://host/x?user=admin&pwd=***"),
        ("http://host/x?Password=secret;size=4", "http://host/x?Password=***;size=4"),
        ("http://host/x?access_token=s&api-key=s&sig=s", "http://host/x?access_token=***&api-key=***&sig=***"),
        ("http://host/x?p%77d=s", "http://host/x?p%77d=***"),
        ("rtsp://host/user=a&password=b&channel=1", "rtsp://host/user=a&password=***&channel=1"),
        ("http://host:8080/video", "http://host:8080/video"),
        ("rtsp://[::1]:554/x", "rtsp://[::1]:554/x"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert masked(url) == shown


@contextlib.contextmanager
def server(handler: object) -> Iterator[int]:
    """A real HTTP server on loopback; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:  # type: ignore[arg-type]
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()


class Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def test_a_video_over_http(video: Path) -> None:
    with (
        server(partial(Files, directory=str(video.parent))) as port,
        open_source(f"http://127.0.0.1:{port}/{video.name}") as source,
    ):
        assert source.length == 30
        assert not source.live
        assert len(list(source)) == 30


class Mjpeg(BaseHTTPRequestHandler):
    """A camera that sends some pictures and then goes away."""

    pictures: ClassVar[list[bytes]] = []
    period_s = 0.02

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for picture in self.pictures:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
            with contextlib.suppress(OSError):  # who has seen enough leaves
                self.wfile.write(head + picture + b"\r\n")
            time.sleep(self.period_s)

    def log_message(self, *_: object) -> None: ...


def test_a_camera_over_http_that_goes_away_is_lost_not_done(clip: Clip) -> None:
    Mjpeg.pictures = [cv2.imencode(".jpg", image)[1].tobytes() for image in clip.images[:20]]
    seen = []
    with server(Mjpeg) as port:
        source = open_source(f"http://user:secret@127.0.0.1:{port}/video?token=abc")
        assert source.live
        with source, pytest.raises(SourceLost, match="frames") as caught:
            for frame in source:
                seen.append(frame)
    assert 15 <= len(seen) <= 20
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert all(frame.taken_at is not None and abs(frame.taken_at - time.time()) < 60 for frame in seen)


def test_a_camera_without_a_clock_is_timed_as_its_pictures_come(clip: Clip, caplog: pytest.LogCaptureFixture) -> None:
    """Not at a rate that is assumed: time would run by it, and jump when it is too far off."""

    class Slow(Mjpeg):
        period_s = 0.15

    Mjpeg.pictures = [cv2.imencode(".jpg", image)[1].tobytes() for image in clip.images[:12]]
    came, told = [], []
    with server(Slow) as port, open_source(f"http://127.0.0.1:{port}/video") as source, pytest.raises(SourceLost):
        for frame in source:
            came.append(time.monotonic())
            told.append(frame.time_s)
    assert told[-1] - told[0] == pytest.approx(came[-1] - came[0], abs=0.2)
    assert came[-1] - came[0] > 0.9
    assert "assumed" not in caplog.text


def test_a_password_that_is_escaped_reaches_the_camera_as_it_is(clip: Clip) -> None:
    class Guarded(Mjpeg):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:p/a?s#s@1%").decode():
                super().do_GET()
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()

    Mjpeg.pictures = [cv2.imencode(".jpg", image)[1].tobytes() for image in clip.images[:20]]
    for password in ("p%2Fa%3Fs%23s%401%25", "p/a?s#s@1%25"):  # and as it was pasted
        with server(Guarded) as port, open_source(f"http://me:{password}@127.0.0.1:{port}/video") as source:
            assert next(iter(source)).image.size


@pytest.mark.parametrize(
    "url",
    ["http://h:80/a@2", "http://h/a@2", "http://[::1]:80/a@b", "http://u:p@h/x@y", "rtsp://h", "udp://@:1234", "x"],
)
def test_what_holds_no_pasted_password_stays(url: str) -> None:
    assert escaped(url) == url


def test_a_server_that_refuses_is_told_by_its_answer(tmp_path: Path) -> None:
    with (
        server(partial(Files, directory=str(tmp_path))) as port,
        pytest.raises(SourceMissing, match=r"(?i)not found|404"),
    ):
        open_source(f"http://127.0.0.1:{port}/none.mp4")


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_tracker.video.stream.OPEN_TIMEOUT_S", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(SourceMissing, match="no answer within 1 s"):
            open_source(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
    assert time.monotonic() - start < 5


def test_a_stream_that_is_not_there_is_refused_and_keeps_the_password_to_itself() -> None:
    with pytest.raises(SourceMissing, match="rtsp://127.0.0.1:9/x") as caught:
        open_source("rtsp://user:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None  # whose text has the URL as it was given


@pytest.mark.parametrize("kind", ["m3u8", "ffconcat", "sdp"])
def test_a_local_playlist_reaches_nothing_on_the_network(kind: str, video: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(Files):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    with server(partial(Counting, directory=str(video.parent))) as port:
        url = f"http://127.0.0.1:{port}/{video.name}"
        text = {
            "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n",
            "ffconcat": f"ffconcat version 1.0\nfile '{url}'\n",
            "sdp": f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        }[kind]
        (tmp_path / f"list.{kind}").write_text(text)
        with pytest.raises(SourceMissing):
            list(open_source(str(tmp_path / f"list.{kind}")))
    assert asked == []
