"""Streams by a protocol that PyAV's wheels lack (SRT is one), through the program ffmpeg and a pipe.

The program copies the packets as they are; nothing is decoded twice. It sees the address with its passphrase as an
argument, as `ps` shows it to the users of this machine.
"""

from __future__ import annotations

import os
import selectors
import shutil

from edge_tracker.errors import SourceMissing
from edge_tracker.video.program import start_program, stop_program

SAID = 4096  # bytes of the program's last words that are read


class Relay:
    """The stream at `url` as a file of MPEG-TS. Raises SourceMissing where there is no ffmpeg.

    name: of the stream, for messages. timeout_s: the longest that `read` waits.
    """

    def __init__(self, url: str, name: str, timeout_s: float) -> None:
        scheme = url.partition("://")[0].lower()
        program = shutil.which("ffmpeg")
        if program is None:
            raise SourceMissing(f"cannot open {name}: this PyAV was built without {scheme}: apt install ffmpeg")
        self._url, self._name, self._timeout_s = url, name, timeout_s
        asked = ["-nostdin", "-v", "error", "-analyzeduration", "1000000", "-i", url]
        given = ["-map", "0:v:0", "-c", "copy", "-f", "mpegts", "-flush_packets", "1", "-muxdelay", "0", "pipe:1"]
        self._process = start_program(program, [*asked, *given])

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the stream's end, or where nothing comes in time."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(self._timeout_s):
                return b""
        return os.read(pipe, size)

    def reason(self) -> str:
        """Why there is no stream, in the program's words, without the address."""
        assert self._process.stderr is not None
        ended = self._process.poll() is not None
        self._process.kill()
        said = self._process.stderr.read(SAID).decode("utf-8", "replace").replace(self._url, self._name)
        lines = [line for line in said.strip().splitlines() if not line.startswith("Did you mean file:")]
        if lines:
            return lines[-1].rpartition(": ")[2].lower()
        return "it ended" if ended else f"no answer within {self._timeout_s:.0f} s"

    def close(self) -> None:
        stop_program(self._process)
