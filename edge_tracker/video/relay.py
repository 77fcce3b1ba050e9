"""Streams by a protocol that PyAV's wheels lack (SRT is one), through the program ffmpeg and a pipe.

The program copies the packets as they are; nothing is decoded twice. It sees the address with its passphrase as an
argument, as `ps` shows it to the users of this machine.
"""

from __future__ import annotations

import difflib
import functools
import os
import selectors
import shutil
import subprocess

from edge_tracker.errors import SourceMissing, first_line
from edge_tracker.video.program import start_program, stop_program

SAID = 4096  # bytes of the program's last words that are read
LISTED_S = 10.0  # in which the program says what it knows
USUAL = ("rtsp", "rtsps", "http", "https", "udp", "srt", "rtmp")  # one of them may be meant


def program_for(scheme: str, name: str) -> str:
    """The program ffmpeg, where it knows the protocol. Raises SourceMissing.

    name: of the stream, for messages.
    """
    program = shutil.which("ffmpeg")
    if program is not None and scheme in _protocols(program):
        return program
    what = f"cannot open {name}: this PyAV was built without {scheme}"
    if scheme not in USUAL and (near := difflib.get_close_matches(scheme, USUAL, 1, 0.7)):
        raise SourceMissing(f"{what}: did you mean {near[0]}://?")
    if program is not None:
        raise SourceMissing(f"{what}, and so was {program}: is it spelt right?")
    raise SourceMissing(f"{what}: apt install ffmpeg, if it is spelt right")


@functools.cache
def _protocols(program: str) -> frozenset[str]:
    """What the program can read from."""
    try:
        command = [program, "-v", "quiet", "-protocols"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=LISTED_S, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SourceMissing(f"{program} does not say what it knows: {first_line(error)}") from error
    return frozenset(said.partition("Output:")[0].split())


class Relay:
    """The stream at `url` as a file of MPEG-TS. Raises SourceMissing where no ffmpeg knows its protocol.

    name: of the stream, for messages. timeout_s: the longest that `read` waits.
    """

    def __init__(self, url: str, name: str, timeout_s: float) -> None:
        program = program_for(url.partition("://")[0], name)
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
