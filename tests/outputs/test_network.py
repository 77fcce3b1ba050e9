"""MQTT, Prometheus and webhooks against real servers on the loopback address that come and go."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tracker.errors import ConfigError, OutputError, OutputLost
from edge_tracker.outputs import prometheus
from edge_tracker.outputs.open import Origin, open_output
from edge_tracker.outputs.status import Status
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame
from tests.service.servers import Broker, certificate, free_port, wait_until

mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
prometheus_parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")

IMAGE = np.zeros((48, 64, 3), np.uint8)
LIVE = Status("front door", "rtsp://h/s", "live", frames=100, dropped=7, reconnects=2, updates=93, updates_per_s=24.5)


def frame(index: int = 0) -> Frame:
    return Frame(index, index / 25, IMAGE, taken_at=time.time())


def track(state: TrackState = TrackState.TRACKED, name: str = "Katze Mia") -> Track:
    return Track((1.0, 2.0, 30.0, 20.0), 0.9, state, name)


class Listener:
    """Hears everything on a broker; the newest message of each topic, and how many came."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.enums import CallbackAPIVersion

        self.topics: dict[str, bytes] = {}
        self.count = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, _: object, __: object, message: Any) -> None:
        self.topics[message.topic] = message.payload
        self.count += 1

    def json(self, topic: str) -> Any:
        return json.loads(self.topics.get(topic) or b"null")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path, free_port())
    yield broker
    broker.kill()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


def base_of(listener: Listener) -> str:
    """The camera's topics begin with this."""
    return next(topic for topic in listener.topics if topic.endswith("/availability")).rpartition("/")[0]


def test_states_availability_and_home_assistant(broker: Broker, listener: Listener) -> None:
    output = open_output(f"mqtt://127.0.0.1:{broker.port}", Origin(camera="front door"))
    output.write(frame(), [track()])
    wait_until(lambda: any("/target/" in topic for topic in listener.topics), 5, "the target")
    base = base_of(listener)
    (topic,) = [topic for topic in listener.topics if "/target/" in topic]
    told = listener.json(topic)
    assert told["target"] == "Katze Mia"
    assert told["state"] == "TRACKED"
    assert told["box"] == [1.0, 2.0, 30.0, 20.0]
    assert told["size"] == [64, 48]
    assert abs(told["time"] - time.time()) < 5
    assert listener.topics[f"{base}/availability"] == b"online"

    configs = [topic for topic in listener.topics if topic.startswith("homeassistant/")]
    assert {topic.split("/")[1] for topic in configs} == {"sensor", "binary_sensor"}
    wait_until(lambda: len([t for t in listener.topics if t.startswith("homeassistant/")]) == 2, 5, "discovery")
    unique = set()
    for config_topic in [t for t in listener.topics if t.startswith("homeassistant/")]:
        assert config_topic.endswith("/config")
        config = listener.json(config_topic)
        assert config["state_topic"] == topic
        assert config["availability_topic"] == f"{base}/availability"
        unique.add(config["unique_id"])
    assert len(unique) == 2

    output.write(frame(1), [track(TrackState.LOST)])  # a change goes out at once
    wait_until(lambda: listener.json(topic)["state"] == "LOST", 2, "the change")
    output.report(LIVE, [track()])  # type: ignore[attr-defined]
    wait_until(lambda: f"{base}/status" in listener.topics, 2, "the status")
    assert listener.json(f"{base}/status")["fps"] == 24.5
    output.write(frame(2), [])  # dropped: its entities go, nothing retained stays
    wait_until(lambda: listener.topics[topic] == b"", 2, "the end of the target")
    wait_until(lambda: not any(listener.topics[t] for t in listener.topics if t.startswith("homeassistant")), 2, "it")
    output.close(True)
    wait_until(lambda: listener.topics[f"{base}/availability"] == b"offline", 3, "the goodbye")


def test_names_that_are_no_topics_stay_apart(broker: Broker, listener: Listener) -> None:
    names = ["a/b", "a b", "a+b", "#", "status", "availability", "Ä", "ä", "$SYS/x"]
    output = open_output(f"mqtt://127.0.0.1:{broker.port}", Origin(camera="../#/+"))
    output.write(frame(), [track(name=name) for name in names])
    wait_until(lambda: len([t for t in listener.topics if "/target/" in t]) == len(names), 5, "all targets")
    told = {listener.json(topic)["target"] for topic in listener.topics if "/target/" in topic}
    assert told == set(names)
    output.close(True)


def test_a_new_listener_is_told_at_once(broker: Broker) -> None:
    output = open_output(f"mqtt://127.0.0.1:{broker.port}")
    output.write(frame(), [track()])
    time.sleep(0.5)
    late = Listener(broker.port)
    wait_until(lambda: any(b"TRACKED" in payload for payload in late.topics.values()), 3, "the retained state")
    late.close()
    output.close(True)


def test_the_last_will_is_seen_when_the_process_dies(broker: Broker, listener: Listener) -> None:
    output: Any = open_output(f"mqtt://127.0.0.1:{broker.port}", Origin(camera="doomed"))
    wait_until(lambda: b"online" in listener.topics.values(), 5, "online")
    output._client.socket().shutdown(2)  # as a process that is killed: no goodbye
    wait_until(lambda: b"offline" in listener.topics.values(), 5, "the last will")
    wait_until(lambda: b"online" in listener.topics.values(), 10, "its return")
    output.close(True)


def test_a_broker_that_is_away_stops_nothing_and_piles_up_nothing(broker: Broker, listener: Listener) -> None:
    output: Any = open_output(f"mqtt://127.0.0.1:{broker.port}?every=0")
    output.write(frame(), [track()])
    wait_until(lambda: any("/target/" in t for t in listener.topics), 5, "the target")
    listener.close()
    broker.kill()
    time.sleep(1.5)
    lost = 0
    start = time.monotonic()
    for k in range(5000):
        try:
            output.write(frame(k), [track(TrackState.LOST if k % 2 else TrackState.TRACKED)])
        except OutputLost:
            lost += 1
    assert time.monotonic() - start < 5  # a frame waits for nobody
    assert lost > 4000
    assert len(output._topics) <= 6
    assert len(output._unsent) <= 6
    assert output._client._out_messages.__len__() <= 100
    broker.start()
    back = Listener(broker.port)
    wait_until(lambda: any(b"LOST" in payload for payload in back.topics.values()), 40, "the newest state")
    assert back.count < 120  # not five thousand old ones
    assert b"online" in back.topics.values()
    output.write(frame(), [track()])  # and the output is well again
    back.close()
    output.close(True)


def test_what_a_killed_process_left_on_the_broker_is_withdrawn(broker: Broker, listener: Listener) -> None:
    address, door = f"mqtt://127.0.0.1:{broker.port}", Origin(camera="front door")
    other = open_output(address, Origin(camera="back door"))
    killed: Any = open_output(address, door)
    tracks = [track(name="Mia"), track(name="Ben 7")]
    for output in (killed, other):
        output.write(frame(), tracks)
    wait_until(lambda: sum(bool(v) for v in listener.topics.values()) == 14, 5, "all")  # 2 x (1 + 2 x 3)
    killed._client.on_disconnect = killed._client.on_connect = None
    killed._client.socket().shutdown(2)
    killed._client.loop_stop()
    after = open_output(address, door)
    after.write(frame(), tracks[:1])  # one of them is followed again
    wait_until(lambda: sum(bool(v) for v in listener.topics.values()) == 11, 5, "the end of what it left")
    time.sleep(0.5)
    held = {topic for topic, payload in listener.topics.items() if payload}
    assert sum("ben" in topic and "front" in topic for topic in held) == 0
    assert sum("/mia" in topic and "front" in topic for topic in held) == 3
    assert sum("back" in topic for topic in held) == 7
    after.close(True)
    other.close(True)


def test_targets_that_came_and_went_while_the_broker_was_away_leave_nothing(tmp_path: Path) -> None:
    output: Any = open_output(f"mqtt://127.0.0.1:{free_port()}")
    for k in range(100):
        output.write(frame(k), [track(name=f"target {k}")])
    assert len(output._topics) == len(output._unsent) == 3
    output.close(True)


def test_a_broker_that_was_never_there(tmp_path: Path) -> None:
    output = open_output(f"mqtt://127.0.0.1:{free_port()}?every=0.05")
    output.write(frame(), [track()])
    time.sleep(1.2)
    with pytest.raises(OutputLost, match="away: connection refused"):
        output.write(frame(1), [track()])
    start = time.monotonic()
    output.close(True)
    assert time.monotonic() - start < 5


def test_passwords_come_from_address_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    import subprocess

    maker = shutil.which("mosquitto_passwd")
    if maker is None:
        pytest.skip("no mosquitto_passwd: apt install mosquitto")
    passwords = tmp_path / "passwords"
    subprocess.run([maker, "-b", "-c", str(passwords), "pi", "se/cr@t"], check=True, capture_output=True)
    port = free_port()
    broker = Broker(tmp_path, port, f"allow_anonymous false\npassword_file {passwords}")
    try:
        for address, environment in (
            (f"mqtt://pi:se%2Fcr%40t@127.0.0.1:{port}", {}),
            (f"mqtt://127.0.0.1:{port}", {"EDGE_TRACKER_MQTT_USER": "pi", "EDGE_TRACKER_MQTT_PASSWORD": "se/cr@t"}),
        ):
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            output: Any = open_output(address)
            wait_until(lambda: output._connected, 5, "the connection")  # noqa: B023
            assert "cr" not in repr(output._address)
            output.close(True)
        monkeypatch.setenv("EDGE_TRACKER_MQTT_PASSWORD", "wrong")
        refused: Any = open_output(f"mqtt://127.0.0.1:{port}")
        time.sleep(1.5)
        with pytest.raises(OutputLost, match="away: not authorized"):
            refused.write(frame(), [track()])
        refused.close(True)
    finally:
        broker.kill()


def test_mqtt_over_tls_trusts_whom_it_is_told(tmp_path: Path) -> None:
    own = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    broker = Broker(tmp_path, free_port(), f"allow_anonymous true\ncertfile {own}\nkeyfile {tmp_path / 'key.pem'}")
    address = f"mqtts://127.0.0.1:{broker.port}"
    try:
        trusting: Any = open_output(f"{address}?ca={own}")
        wait_until(lambda: trusting._connected, 5, "the connection")
        trusting.close(True)
        for ca in (f"?ca={other}", ""):
            careful: Any = open_output(f"{address}{ca}")
            time.sleep(1.5)
            with pytest.raises(OutputLost, match="away: self.signed certificate"):
                careful.write(frame(), [track()])
            careful.close(True)
    finally:
        broker.kill()


@pytest.mark.parametrize(
    "address",
    [
        *("mqtt://", "mqtt://h:99999", "mqtt://h?evry=1", "mqtt://h?every=x", "mqtts://h?ca=no", "mqtt://h/a/#"),
        *("mqtt://h/a/%23", "mqtt://h/+/b", "mqtt://h?discovery=a/%2B", "mqtt://a..b", f"mqtt://{'x' * 70}.de"),
        *("mqtt://user:p#ss@h", "mqtt://user:1#2@h"),
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConfigError):
        open_output(address)


def scraped(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample name -> label values -> value, as Prometheus's own parser reads them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in prometheus_parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.values()))] = sample.value
    return found


def test_prometheus_tells_what_happened() -> None:
    port = free_port()
    front: Any = open_output(f"prometheus://:{port}", Origin(camera="front door"))
    back: Any = open_output(f"prometheus://:{port}", Origin(camera="back"))  # cameras of one process share the port
    try:
        for index in range(4):
            front.write(frame(index), [track()])
        front.write(Frame(5, 0.2, IMAGE, taken_at=time.time() - 0.4), [track()])
        front.report(LIVE, [track(), track(TrackState.LOST, "b")])
        back.report(Status("back", "x", "away", output_errors={"mqtt://h": 3}), [])
        found = scraped(port)
        assert found["edge_tracker_frames_total"] == {("front door",): 100, ("back",): 0}
        assert found["edge_tracker_dropped_frames_total"][("front door",)] == 7
        assert found["edge_tracker_reconnects_total"][("front door",)] == 2
        assert found["edge_tracker_updates_per_second"][("front door",)] == 24.5
        assert found["edge_tracker_source_up"] == {("front door",): 1, ("back",): 0}
        assert found["edge_tracker_targets"][("TRACKED", "front door")] == 1
        assert found["edge_tracker_targets"][("LOST", "front door")] == 1
        assert found["edge_tracker_targets"][("UNCERTAIN", "front door")] == 0
        assert found["edge_tracker_output_errors_total"][("back", "mqtt://h")] == 3
        assert found["edge_tracker_latency_seconds_count"][("front door",)] == 5
        buckets = found["edge_tracker_latency_seconds_bucket"]
        assert buckets[("0.1", "front door")] == 4
        assert buckets[("0.5", "front door")] == 5
        assert not any("b" in labels or "Katze Mia" in labels for each in found.values() for labels in each)
        back.close(True)
        assert ("back",) not in scraped(port)["edge_tracker_frames_total"]
    finally:
        front.close(True)
        back.close(True)
    with pytest.raises(OSError, match="refused"):
        scraped(port)
    again: Any = open_output(f"prometheus://:{port}")
    again.close(True)


def test_prometheus_says_when_its_port_is_taken() -> None:
    taken = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    try:
        with pytest.raises(OutputError, match="cannot listen"):
            open_output(f"prometheus://:{taken.server_address[1]}")
    finally:
        taken.server_close()
    for wrong in ("prometheus://", "prometheus://:0", "prometheus://:99999", "prometheus://host"):
        with pytest.raises(ConfigError):
            open_output(wrong)


def test_prometheus_serves_whoever_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing, or go on for ever, have an end, and there are so many at most."""
    monkeypatch.setattr(prometheus, "REQUEST_S", 1.0)
    port = free_port()
    output: Any = open_output(f"prometheus://:{port}", Origin(camera="front"))
    before = threading.active_count()
    slow = []
    try:
        for _ in range(5 * prometheus.MOST_CONNECTIONS):
            slow.append(socket.create_connection(("127.0.0.1", port)))
            slow[-1].sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert threading.active_count() <= before + 2 * prometheus.MOST_CONNECTIONS
        start = time.monotonic()
        while time.monotonic() - start < 1.3:
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")
            time.sleep(0.1)
        assert "edge_tracker_latency_seconds_count" in scraped(port)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/../../etc/passwd", timeout=5)
    finally:
        for connection in slow:
            connection.close()
        output.close(True)


class Receiver:
    """A webhook's receiver: answers as told, keeps what it took."""

    def __init__(self, port: int = 0) -> None:
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.asked = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = receiver.answers.pop(0) if receiver.answers else 200
                if code == 200:
                    receiver.taken.append({**json.loads(body), "raw": body})
                    receiver.headers.append(dict(self.headers))
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook?token=secret"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_a_webhook_hears_changes_and_can_check_who_speaks(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import hmac

    monkeypatch.setenv("EDGE_TRACKER_WEBHOOK_SECRET", "s3cret")
    output = open_output(receiver.url, Origin(camera="gate"))
    for state in (TrackState.TRACKED, TrackState.TRACKED, TrackState.LOST, TrackState.LOST):
        output.write(frame(), [track(state)])
    output.write(frame(), [])
    wait_until(lambda: len(receiver.taken) == 3, 5, "three events")
    output.close(True)
    assert [(event["before"], event["state"]) for event in receiver.taken] == [
        (None, "TRACKED"),
        ("TRACKED", "LOST"),
        ("LOST", "DROPPED"),
    ]
    assert {event["camera"] for event in receiver.taken} == {"gate"}
    assert len({event["id"] for event in receiver.taken}) == 3
    for event, headers in zip(receiver.taken, receiver.headers, strict=True):
        signed = headers["X-Edge-Tracker-Time"].encode() + b"." + event["raw"]
        expected = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
        assert headers["X-Edge-Tracker-Signature"] == f"sha256={expected}"
        assert abs(int(headers["X-Edge-Tracker-Time"]) - time.time()) < 10


def test_a_webhook_with_a_login_and_a_name_that_is_no_address(receiver: Receiver) -> None:
    url = receiver.url.replace("//", "//me:p%40ss@") + "&where=front door ä"
    output = open_output(url, Origin(camera="gate"))
    output.write(frame(), [track()])
    wait_until(lambda: receiver.taken, 5, "an event")
    assert receiver.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    output.close(True)


@pytest.mark.parametrize("url", ["https://", "http://[h/x", "http://h:x/", "https://me:pa/ss@h/hook", "http:///hook"])
def test_a_webhook_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="a webhook is"):
        open_output(url)


def test_a_webhook_is_tried_again(receiver: Receiver) -> None:
    receiver.answers = [500, 503, 200]
    output = open_output(receiver.url)
    output.write(frame(), [track()])
    wait_until(lambda: receiver.asked == 1, 5, "the first try")
    time.sleep(0.1)
    with pytest.raises(OutputLost) as away:
        output.write(frame(), [track()])
    assert "secret" not in str(away.value)
    wait_until(lambda: len(receiver.taken) == 1, 10, "the third try")
    time.sleep(0.1)
    output.write(frame(), [track()])
    output.close(True)


def test_a_webhook_that_refuses_for_good_is_not_asked_again_and_not_followed(receiver: Receiver) -> None:
    receiver.answers = [400, 302, 200]
    output = open_output(receiver.url)
    output.write(frame(), [track()])
    output.write(frame(), [track(TrackState.LOST)])
    wait_until(lambda: receiver.asked >= 2, 5, "two tries")
    output.close(True)
    assert all(event["state"] == "LOST" for event in receiver.taken)


@pytest.mark.parametrize("url", ["http://", "https://[", "http://host:port/"])
def test_a_webhook_that_can_never_be_reached_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="a webhook is"):
        open_output(url)


def test_a_webhook_that_is_away_does_not_hold_up_frames() -> None:
    output: Any = open_output(f"http://127.0.0.1:{free_port()}/")
    start = time.monotonic()
    for k in range(2000):
        try:
            output.write(frame(k), [track(TrackState.LOST if k % 2 else TrackState.TRACKED)])
        except OutputLost:
            continue
    assert time.monotonic() - start < 3
    assert len(output._waiting) <= 100
    start = time.monotonic()
    output.close(True)
    assert time.monotonic() - start < 8
