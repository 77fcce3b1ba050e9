"""Where the page listens, as a user writes it."""

from __future__ import annotations

import ipaddress
import re

from edge_tracker.errors import ConfigError


def parsed_address(text: str) -> tuple[str, int]:
    """Host and port of "[HOST:]PORT"; the loopback address where no host is given. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigError(f"the page's address is [HOST:]PORT, with a port up to 65535, not {text!r}")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
