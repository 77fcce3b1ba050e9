"""Figures for Prometheus, by its own client: `prometheus://[HOST]:PORT`, the loopback address unless one is given.

Cameras of one process share a port. Targets are counted by state, not by name: names come and go, and each would stay a
series for ever.
"""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

from edge_tracker.errors import ConfigError, OutputError
from edge_tracker.outputs.status import Status
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame

LATENCIES_S = (0.005, 0.01, 0.02, 0.033, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
PREFIX = "edge_tracker"
MOST_CONNECTIONS = 8
REQUEST_S = 10.0  # from the connection to its end
log = logging.getLogger(__name__)


class PrometheusOutput:
    """address: prometheus://[HOST]:PORT. Raises ConfigError, OutputError where the port is taken."""

    def __init__(self, address: str, camera: str = "camera") -> None:
        self._camera = camera
        self._exporter: _Exporter | None = _Exporter.at(address)
        self._latency = self._exporter.latency.labels(camera)

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        if frame.taken_at is not None:
            self._latency.observe(max(time.time() - frame.taken_at, 0.0))

    def report(self, status: Status, tracks: Sequence[Track]) -> None:
        if self._exporter is not None:
            self._exporter.put(status, tracks)

    def close(self, complete: bool) -> None:
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.leave(self._camera)


class _Exporter:
    """One port: a registry of its own, and a server thread."""

    running: ClassVar[dict[tuple[str, int], _Exporter]] = {}
    lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def at(cls, address: str) -> _Exporter:
        place = parsed_place(address)
        with cls.lock:
            exporter = cls.running.get(place)
            if exporter is None:
                exporter = cls.running[place] = cls(*place)
            exporter.users += 1
        return exporter

    def __init__(self, host: str, port: int) -> None:
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
        except ImportError:
            raise ConfigError("Prometheus needs prometheus-client: pip install 'edge-tracker[service]'") from None
        self.users = 0
        self._place = (host, port)
        self._lock = threading.Lock()
        self._told: dict[str, tuple[Status, list[Track]]] = {}
        registry = CollectorRegistry()
        self.latency = Histogram(
            f"{PREFIX}_latency_seconds", "From capture to output", ["camera"], registry=registry, buckets=LATENCIES_S
        )
        registry.register(self)  # a collector is what has `collect`
        try:
            self._server = _Server((host, port), lambda: generate_latest(registry), CONTENT_TYPE_LATEST)
        except (OSError, UnicodeError) as error:
            raise OutputError(
                f"Prometheus cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="prometheus", daemon=True)
        self._thread.start()

    def put(self, status: Status, tracks: Sequence[Track]) -> None:
        with self._lock:
            self._told[status.camera] = status, list(tracks)

    def leave(self, camera: str) -> None:
        with self._lock:
            self._told.pop(camera, None)
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.running.pop(self._place, None)
                self._server.shutdown()
                self._server.server_close()
                self._thread.join(5.0)

    def collect(self) -> list[Any]:
        """The figures of all cameras, as Prometheus asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            told = dict(self._told)
        families: list[Any] = []
        for kind, name, text, value in (
            (CounterMetricFamily, "frames", "Frames that arrived", lambda s: s.frames),
            (CounterMetricFamily, "dropped_frames", "Frames that came faster than taken", lambda s: s.dropped),
            (CounterMetricFamily, "reconnects", "New attempts to open the source", lambda s: s.reconnects),
            (CounterMetricFamily, "updates", "Frames in which targets were looked for", lambda s: s.updates),
            (GaugeMetricFamily, "updates_per_second", "Frames per second of late", lambda s: s.updates_per_s),
            (GaugeMetricFamily, "source_up", "1 while frames come", lambda s: float(s.source_state == "live")),
            (GaugeMetricFamily, "turns", "Frames between two updates of a target", lambda s: s.turns),
        ):
            family = kind(f"{PREFIX}_{name}", text, labels=["camera"])
            for camera, (status, _) in told.items():
                family.add_metric([camera], value(status))
            families.append(family)
        targets = GaugeMetricFamily(f"{PREFIX}_targets", "Targets by state", labels=["camera", "state"])
        errors = CounterMetricFamily(
            f"{PREFIX}_output_errors", "Frames that an output could not take", labels=["camera", "output"]
        )
        for camera, (status, tracks) in told.items():
            for state in TrackState:
                targets.add_metric([camera, state.value], sum(track.state is state for track in tracks))
            for output, count in status.output_errors.items():
                errors.add_metric([camera, output], count)
        families += [targets, errors]
        newest = next(iter(told.values()))[0] if told else None
        if newest is not None and newest.temperature_c is not None:
            families.append(
                GaugeMetricFamily(f"{PREFIX}_temperature_celsius", "Of the processor", value=newest.temperature_c)
            )
        if newest is not None and newest.throttled is not None:
            families.append(
                GaugeMetricFamily(f"{PREFIX}_throttled", "A Raspberry Pi's bit field", value=newest.throttled)
            )
        return families


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    """Gives `text()` to whoever asks. The client's own server takes any number of connections, for any time."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], text: Callable[[], bytes], kind: str) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in place[0]:
            self.address_family = socket.AF_INET6

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.partition("?")[0] in ("/", "/metrics")
                body = text() if found else b""
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: requests are no events."""

        super().__init__(place, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = threading.Timer(REQUEST_S, request.shutdown, (socket.SHUT_RDWR,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for figures", exc_info=True)


def parsed_place(address: str) -> tuple[str, int]:
    """Host and port of prometheus://[HOST]:PORT. Raises ConfigError."""
    host, _, port = address.removeprefix("prometheus://").rstrip("/").rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
        raise ConfigError(f"Prometheus is asked for as prometheus://[HOST]:PORT, not {address!r}")
    return host.strip("[]") or "127.0.0.1", int(port)
