"""What a process tells systemd that started it (sd_notify(3)): that it is ready, alive, stopping."""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)


class Supervisor:
    """systemd, where it started us; nobody else, and then nothing happens."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        timeout = os.environ.get("WATCHDOG_USEC", "")
        self._every_s = int(timeout) / 1e6 / 3 if timeout.isdecimal() and int(timeout) else None
        self._told = 0.0

    def ready(self) -> None:
        self._tell("READY=1")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """May be called as often as one likes: it is told three times in the time that systemd waits."""
        if self._every_s is not None and time.monotonic() - self._told >= self._every_s:
            self._told = time.monotonic()
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), address)
        except OSError as error:
            log.debug("systemd is not told: %s", error)
