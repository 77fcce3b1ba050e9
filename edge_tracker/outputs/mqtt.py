"""States of targets on an MQTT broker, with Home Assistant's discovery.

Under the base (`edge-tracker` unless the address has a path) stand, all retained:

    BASE/CAMERA/availability    online or offline, which is the last will too
    BASE/CAMERA/status          {"source_state", "fps", "latency_ms", ...}
    BASE/CAMERA/target/TARGET   {"target", "state", "confidence", "box", "size", "time"}

A target is published when its state changes, and else every second (`?every=`). While the broker is away nothing piles
up: the newest message of each topic waits, and goes out with the next connection. Targets that an earlier process left
there, killed before it could drop them, are withdrawn.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
import unicodedata
from collections.abc import Sequence
from typing import Any

from edge_tracker.errors import ConfigError, OutputLost
from edge_tracker.outputs.mqtt_client import MqttAddress, client_of, start
from edge_tracker.outputs.status import Status
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame

EVERY_S = 1.0
DISCOVERY = "homeassistant"  # Home Assistant's own prefix; `?discovery=` without a value turns it off
KINDS = ("sensor", "binary_sensor")  # of a target's entities: its state, its presence
PATIENCE_S = 1.0  # before a broker counts as away
CLOSING_S = 3.0
log = logging.getLogger(__name__)


class MqttOutput:
    """address: see `MqttAddress`. camera: its name in the topics. Raises ConfigError."""

    def __init__(self, address: str, camera: str = "camera") -> None:
        self._address = MqttAddress.parse(address)
        options = self._address.options
        self._every_s = _seconds(options.get("every", str(EVERY_S)))
        self._discovery = options.get("discovery", DISCOVERY)
        self._camera = camera
        self._base = f"{self._address.path or 'edge-tracker'}/{slug(camera)}"
        if set("+#\0") & set(self._base + self._discovery):
            raise ConfigError("a topic to write to holds no + and no #")
        self._lock = threading.Lock()
        self._sending = threading.Lock()  # one thread at a time, or an older message could overtake a newer one
        self._topics: dict[str, bytes] = {}  # what the broker is to hold
        self._unsent: set[str] = set()
        self._sent: set[str] = set()  # what it may hold
        self._reason = ""  # why it is away
        self._targets: dict[str, tuple[str, float]] = {}  # target -> state and moment of its last message
        self._connected = False
        self._away_since: float | None = time.monotonic()
        self._client = client_of(self._address)
        self._client.will_set(f"{self._base}/availability", b"offline", qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        start(self._client, self._address, self._failed)

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        """Publish what changed. Raises OutputLost while the broker is away; what was to be said is kept."""
        now = time.monotonic()
        height, width = frame.image.shape[:2]
        for track in tracks:
            state, last = self._targets.get(track.target, ("", 0.0))
            if track.target not in self._targets:
                self._announce(track.target)
            if track.state.value != state or now - last >= self._every_s:
                self._targets[track.target] = track.state.value, now
                self._publish(self._topic(slug(track.target)), _message(frame, track, width, height))
        for gone in set(self._targets) - {track.target for track in tracks}:
            del self._targets[gone]
            self._withdraw(gone)
        if not self._connected and self._away_since is not None and now - self._away_since > PATIENCE_S:
            raise OutputLost(f"{self._address.name} is away" + (f": {self._reason}" if self._reason else ""))

    def report(self, status: Status, tracks: Sequence[Track]) -> None:
        """Publish how the camera is doing."""
        latency = status.latency_s
        told = {
            "source_state": status.source_state,
            "fps": round(status.updates_per_s, 1),
            "latency_ms": None if latency is None else round(latency * 1e3),
            "dropped": status.dropped,
            "reconnects": status.reconnects,
            "targets": len(tracks),
            "temperature_c": status.temperature_c,
        }
        self._publish(f"{self._base}/status", json.dumps(told).encode())

    def close(self, complete: bool) -> None:
        """Say goodbye: the last will is only for who cannot."""
        if self._connected:
            sent = self._client.publish(f"{self._base}/availability", b"offline", qos=1, retain=True)
            try:
                sent.wait_for_publish(CLOSING_S)
            except (RuntimeError, ValueError) as error:
                log.debug("goodbye was not heard: %s", error)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, payload: bytes) -> None:
        with self._lock:
            self._topics[topic] = payload
            self._unsent.add(topic)
            if not payload and topic not in self._sent:  # nobody has heard of it
                del self._topics[topic]
                self._unsent.remove(topic)
            connected = self._connected
        if connected:
            self._send_waiting()

    def _send_waiting(self) -> None:
        with self._sending:
            with self._lock:
                waiting = [(topic, self._topics[topic]) for topic in self._unsent]
                self._unsent.clear()
                self._sent.update(topic for topic, _ in waiting)
            for topic, payload in waiting:
                sent = self._client.publish(topic, payload, qos=1, retain=True)
                with self._lock:
                    if sent.rc != 0:  # disconnected in between, or its queue is full
                        self._unsent.add(topic)
                    elif not payload and self._topics.get(topic) == b"":
                        del self._topics[topic]
                        self._sent.remove(topic)

    def _announce(self, target: str) -> None:
        """Tell Home Assistant of a target: its state and its presence as entities of the camera's device."""
        for kind, entity in self._entities(target):
            self._publish(self._config_topic(kind, slug(target)), json.dumps(entity).encode())

    def _withdraw(self, target: str) -> None:
        for kind, _ in self._entities(target):
            self._publish(self._config_topic(kind, slug(target)), b"")
        self._publish(self._topic(slug(target)), b"")

    def _topic(self, part: str) -> str:
        return f"{self._base}/target/{part}"

    def _config_topic(self, kind: str, part: str) -> str:
        return f"{self._discovery}/{kind}/edge_tracker_{slug(self._camera)}/{part}/config"

    def _entities(self, target: str) -> list[tuple[str, dict[str, Any]]]:
        if not self._discovery:
            return []
        unique = f"edge_tracker_{slug(self._camera)}_{slug(target)}"
        common = {
            "state_topic": self._topic(slug(target)),
            "availability_topic": f"{self._base}/availability",
            "device": {
                "identifiers": [f"edge_tracker_{slug(self._camera)}"],
                "name": f"edge-tracker {self._camera}",
                "model": "edge-tracker",
            },
        }
        state = {
            "name": target,
            "unique_id": unique,
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": common["state_topic"],
            "device_class": "enum",
            "options": [state.value for state in TrackState],
            "icon": "mdi:crosshairs",
        }
        present = {
            "name": f"{target} in sight",
            "unique_id": f"{unique}_present",
            "value_template": "{{ 'ON' if value_json.state == 'TRACKED' else 'OFF' }}",
            "device_class": "occupancy",
        }
        return list(zip(KINDS, (common | state, common | present), strict=True))

    def _failed(self, reason: str) -> None:
        self._reason = reason

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            self._failed(str(reason).lower())
            return
        self._client.subscribe(self._topic("+"))
        self._client.publish(f"{self._base}/availability", b"online", qos=1, retain=True)
        with self._lock:  # the broker may have forgotten all: it is told all
            self._unsent.update(self._topics)
            self._connected, self._away_since, self._reason = True, None, ""
        self._send_waiting()

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        """What the broker keeps of a target: ours, or one that an earlier process left there."""
        if not message.retain or not message.payload:
            return
        name = message.topic.rpartition("/")[2]
        topics = [message.topic, *(self._config_topic(kind, name) for kind in KINDS if self._discovery)]
        with self._lock:
            if message.topic in self._topics:
                return
            self._sent.update(topics)
            self._topics.update(dict.fromkeys(topics, b""))
            self._unsent.update(topics)
        self._send_waiting()

    def _on_disconnect(self, *_: Any) -> None:
        with self._lock:
            if self._connected:
                self._away_since = time.monotonic()
            self._connected = False


def slug(name: str) -> str:
    """`name` as a part of a topic: a-z, 0-9, _; other names end in a few digits of their hash, so that none meet."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    short = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if short == name:
        return short
    return f"{short or 'x'}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _message(frame: Frame, track: Track, width: int, height: int) -> bytes:
    return json.dumps(
        {
            "target": track.target,
            "state": track.state.value,
            "confidence": round(track.confidence, 3),
            "box": [round(v, 1) for v in track.box],
            "size": [width, height],
            "time": round(frame.taken_at if frame.taken_at is not None else time.time(), 3),
        }
    ).encode()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ConfigError(f"every is a number of seconds, not {text!r}")
    return value
