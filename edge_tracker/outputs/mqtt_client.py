"""A connection to an MQTT broker, by paho-mqtt: made, and made again, by a thread of its own."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from edge_tracker.errors import ConfigError, first_line

if TYPE_CHECKING:
    from paho.mqtt.client import Client

USER, PASSWORD = "EDGE_TRACKER_MQTT_USER", "EDGE_TRACKER_MQTT_PASSWORD"  # where the address has none
OPTIONS = ("ca", "camera", "every", "discovery", "label", "size", "client")
KEEPALIVE_S = 20
FORM = "an MQTT address is mqtt://[user:password@]host[:port][/path], / # ? @ % in a password as %2F %23 %3F %40 %25"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MqttAddress:
    """mqtt://[user:password@]host[:port][/path][?option=value], mqtts:// for TLS."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None = field(repr=False)
    path: str
    options: dict[str, str]

    @classmethod
    def parse(cls, address: str) -> MqttAddress:
        """Raises ConfigError, without what may be a password."""
        try:
            parts = urlsplit(address)
            port = parts.port
            (parts.hostname or "").encode("idna")  # as it is looked up
        except ValueError:
            raise ConfigError(FORM) from None
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or "#" in address:
            raise ConfigError(FORM)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name in options:
            if name not in OPTIONS:
                raise ConfigError(f"an MQTT address has no option {name!r}; it has {', '.join(OPTIONS)}")
        tls = parts.scheme == "mqtts"
        user = unquote(parts.username) if parts.username else os.environ.get(USER)
        password = unquote(parts.password) if parts.password else os.environ.get(PASSWORD)
        port = port or (8883 if tls else 1883)
        return cls(parts.hostname, port, tls, user, password, unquote(parts.path.strip("/")), options)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def client_of(address: MqttAddress) -> Client:
    """A client that is not connected yet. Raises ConfigError where paho-mqtt is not installed, or `ca` is no file."""
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise ConfigError("MQTT needs paho-mqtt: pip install 'edge-tracker[service]'") from None
    client = Client(CallbackAPIVersion.VERSION2, client_id=address.options.get("client", ""))
    if address.user:
        client.username_pw_set(address.user, address.password)
    if address.tls:
        try:
            client.tls_set_context(ssl.create_default_context(cafile=address.options.get("ca")))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca={address.options.get('ca')} is not read: {first_line(error)}") from None
    client.reconnect_delay_set(1, 30)
    client.max_queued_messages_set(100)
    return client


def start(client: Client, address: MqttAddress, failed: Callable[[str], None]) -> None:
    """Connect in the background, now or whenever the broker is there. failed: told why an attempt was in vain."""
    client.on_connect_fail = lambda *_: failed(_reason(sys.exc_info()[1]))
    client.connect_async(address.host, address.port, KEEPALIVE_S)
    client.loop_start()


def _reason(error: BaseException | None) -> str:
    return str(getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error).lower()


def connected(address: MqttAddress, on_message: Callable[[bytes], None], topic: str) -> Client:
    """A client that hears `topic` whenever the broker is there; not what the broker kept, which may be old."""
    client = client_of(address)
    away = False

    def failed(reason: str) -> None:
        nonlocal away
        if not away:
            log.warning("%s is away: %s; tracking goes on", address.name, reason)
        away = True

    def on_connect(client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        nonlocal away
        if reason.is_failure:
            failed(str(reason).lower())
            return
        if away:
            log.warning("%s is back", address.name)
        away = False
        client.subscribe(topic, qos=1)

    client.on_connect = on_connect
    client.on_message = lambda _, __, message: None if message.retain else on_message(bytes(message.payload))
    start(client, address, failed)
    return client
