"""Network streams (RTSP, HTTP, RTMP, UDP), read with PyAV; what its build does not know, as SRT, through `relay`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import av
from av.container import InputContainer

from edge_tracker.errors import SourceLost, SourceMissing
from edge_tracker.video.decode import Decoder
from edge_tracker.video.relay import Relay, program_for
from edge_tracker.video.source import Frame, Source
from edge_tracker.video.urls import escaped, masked

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 10.0  # of a stream that says nothing, which could else hang for ever
BY_HTTP = ("http", "https")
CA = "EDGE_TRACKER_SOURCE_CA"  # in the environment: a file of certificates that a server's must be signed by


def check_protocol(url: str) -> None:
    """Raise SourceMissing where nothing here can ever open `url`, as its protocol is unknown. Connects to nothing."""
    scheme, mark, _ = url.partition("://")
    if not mark:
        return
    try:
        av.open(f"{scheme.lower()}://localhost", "r", options={"protocol_whitelist": "none"}).close()
    except av.error.ProtocolNotFoundError:
        program_for(scheme.lower(), masked(url))
    except (av.FFmpegError, ValueError, OSError):  # a known one, which is not on that list
        return


class StreamSource(Source):
    """A stream at a URL. Raises SourceMissing where it cannot be opened, SourceLost where it breaks off.

    Live unless it is fetched by HTTP and states its length, as a video file on a server does. A server's certificate
    is checked where the environment names certificates to check it by (`CA`): cameras sign their own.
    """

    def __init__(self, url: str, fps: float | None = None, threads: int = 1) -> None:
        """fps: where the stream has no clock. threads: of the decoder."""
        self.name = masked(url)
        scheme, mark, rest = url.partition("://")
        scheme = scheme.lower()  # FFmpeg knows no other spelling
        self._relay: Relay | None = None
        self._container = self._opened(escaped(scheme + mark + rest), scheme)
        self.live = scheme not in BY_HTTP or not self._container.duration
        try:
            self._decoder = Decoder(self._container, self.name, fps, threads, self.live)
        except BaseException:
            self.close()
            raise
        self.fps = self._decoder.fps
        self.length = None if self.live else self._decoder.length

    def __iter__(self) -> Iterator[Frame]:
        frames = 0
        try:
            for time_s, image in self._decoder:
                yield Frame(frames, time_s, image, taken_at=time.time() if self.live else None)
                frames += 1
        except (av.FFmpegError, OSError) as error:
            raise SourceLost(f"{self.name} broke off after {frames} frames: {_reason(error)}") from None
        if self.live:
            raise SourceLost(f"{self.name} stopped delivering after {frames} frames")
        if frames == 0:
            raise SourceMissing(f"{self.name} gives no frame: it is empty or broken")

    def close(self) -> None:
        self._container.close()
        if self._relay is not None:
            self._relay.close()

    def _opened(self, url: str, scheme: str) -> InputContainer:
        options = {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
        if ca := os.environ.get(CA):
            options |= {"tls_verify": "1", "ca_file": ca}
        timeouts = (OPEN_TIMEOUT_S, READ_TIMEOUT_S)
        try:
            return av.open(url, "r", options=options, timeout=timeouts, metadata_errors="replace")
        except av.error.ProtocolNotFoundError:
            return self._relayed(url)
        except (av.FFmpegError, ValueError, OSError) as error:  # whose text may hold the password
            raise SourceMissing(f"cannot open {self.name}: {_reason(error)}") from None

    def _relayed(self, url: str) -> InputContainer:
        self._relay = relay = Relay(url, self.name, READ_TIMEOUT_S)
        try:
            return av.open(relay, "r", format="mpegts", metadata_errors="replace")
        except (av.FFmpegError, ValueError, OSError):
            reason = relay.reason()
            relay.close()
            raise SourceMissing(f"cannot open {self.name}: {reason}") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, av.error.ExitError):
        return f"no answer within {OPEN_TIMEOUT_S:.0f} s"
    text: str | None = getattr(error, "strerror", None)
    return (text or type(error).__name__).lower()
