"""Servers on the loopback address: cameras by HTTP and RTSP, a broker; to be killed, frozen and brought back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

PATIENCE = 4  # times what a quiet machine needs: waiting costs nothing where what is waited for comes
SYSTEM_PYTHON = "/usr/bin/python3"  # which has the distribution's GStreamer bindings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> float:
    """Seconds until `condition` holds; fails the test where it does not in time."""
    start, patience_s = time.monotonic(), PATIENCE * timeout_s
    while not condition():
        if time.monotonic() - start > patience_s:
            pytest.fail(f"{what} did not come within {patience_s:g} s")
        time.sleep(0.02)
    return time.monotonic() - start


class MjpegCamera:
    """A camera by HTTP (multipart JPEG) that gives `images` round and round, at `fps`."""

    def __init__(
        self, images: Sequence[NDArray[np.uint8]], fps: float = 25.0, port: int = 0, certificate: Path | None = None
    ) -> None:
        """certificate: of `certificate()`: by HTTPS."""
        self.fps = fps
        self.frozen = threading.Event()
        self.start_at = time.monotonic()
        self.show(images)
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not camera._over:
                        time.sleep(1 / camera.fps)
                        if camera.frozen.is_set():
                            continue
                        jpeg = camera._newest()
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")

            def log_message(self, *args: object) -> None:
                pass

        self._over = False
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        if certificate is not None:
            self._server.socket = server_tls(certificate).wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}/camera.mjpg"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def show(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]

    def _newest(self) -> bytes:
        return self._jpegs[round((time.monotonic() - self.start_at) * self.fps) % len(self._jpegs)]

    def close(self) -> None:
        self._over = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


RTSP_SERVER = textwrap.dedent(
    """
    import sys, gi
    gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer
    Gst.init(None)
    port, width, height, fps = sys.argv[1:5]
    server = GstRtspServer.RTSPServer(); server.set_address("127.0.0.1"); server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate={fps}/1 ! "
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 threads=1 ! rtph264pay name=pay0 pt=96 )"
    )
    factory.set_shared(True)
    server.get_mount_points().add_factory("/test", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()
    """
)


class RtspCamera:
    """GStreamer's RTSP server in a process of its own."""

    def __init__(self, port: int, width: int = 320, height: int = 240, fps: int = 25) -> None:
        self.url = f"rtsp://127.0.0.1:{port}/test"
        command = [SYSTEM_PYTHON, "-c", RTSP_SERVER, *map(str, (port, width, height, fps))]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            self.kill()
            pytest.skip("GStreamer's RTSP server does not start")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def need_rtsp() -> None:
    """Skip where there is no RTSP server."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        found = subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True, timeout=30).returncode == 0
    except OSError:
        found = False
    if not found:
        pytest.skip("no RTSP server: apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly")


class FfmpegServer:
    """ffmpeg sending moving pictures to `url`, or waiting there for who wants them."""

    def __init__(self, url: str, scheme: str) -> None:
        program = shutil.which("ffmpeg")
        if program is None:
            pytest.skip("no server: apt install ffmpeg")
        known = subprocess.run(
            [program, "-v", "error", "-protocols"], capture_output=True, text=True, check=False
        ).stdout
        if scheme not in known.split():
            pytest.skip(f"this ffmpeg has no {scheme}")
        given = ["-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25"]
        made = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-f", "mpegts", url]
        self.process = subprocess.Popen([program, "-nostdin", "-v", "quiet", *given, *made])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def certificate(folder: Path) -> Path:
    """A file with a new key and a certificate for 127.0.0.1 that the key itself signed."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no certificates: apt install openssl")
    made, key = folder / "certificate.pem", folder / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [program, "req", *kind, *names, "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    made.write_text(made.read_text() + key.read_text())
    return made


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class TlsDoor:
    """A port with TLS before another without: connections are passed on, both ways."""

    def __init__(self, certificate: Path, port: int) -> None:
        self._inner = port
        self._socket = server_tls(certificate).wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                outer, _ = self._socket.accept()
            except ssl.SSLError:  # somebody did not trust us
                continue
            except OSError:
                return
            inner = socket.create_connection(("127.0.0.1", self._inner))
            for here, there in ((outer, inner), (inner, outer)):
                threading.Thread(target=self._pass_on, args=(here, there), daemon=True).start()

    @staticmethod
    def _pass_on(here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
        for each in (here, there):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._socket.close()


class Broker:
    """mosquitto on a port of its own."""

    def __init__(self, folder: Path, port: int, extra: str = "") -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("no MQTT broker: apt install mosquitto")
        self.port = port
        path = folder / f"mosquitto-{port}.conf"
        access = extra or "allow_anonymous true"
        as_root = "user root" if os.geteuid() == 0 else ""  # else it gives up its rights, and with them its files
        path.write_text(f"listener {port} 127.0.0.1\n{as_root}\n{access}\n")
        self._command = [program, "-c", str(path)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 5, "the broker")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def command_line(*arguments: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """`edge-track` in a process of its own, ended at the end."""
    command = [sys.executable, "-m", "edge_tracker", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))
