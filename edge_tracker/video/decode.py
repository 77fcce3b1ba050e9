"""Pictures and their times out of a container that PyAV has opened: for files, pipes and network streams alike."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags as FormatFlags
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from edge_tracker.errors import SourceMissing
from edge_tracker.video.clock import Clock
from edge_tracker.video.pictures import Pictures
from edge_tracker.video.source import NOMINAL_FPS

FASTEST_FPS = 1000.0  # a stated rate above it is a clock's resolution, not a rate
IN_VAIN = 1000  # errors of the demuxer one after another, after which the stream is given up
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails  # streams that are covers and thumbnails

log = logging.getLogger(__name__)


class Decoder:
    """Iterates over (time_s, image) of a container's video stream: seconds from the first frame, uint8 (H, W, 3) BGR.

    Damaged packets are skipped, and counted in `damaged`; pictures in which the decoder covered damage up come, and are
    counted in `patched`. Ends where the stream ends, whatever its header says of its length; raises av.FFmpegError
    where reading fails.
    """

    def __init__(
        self, container: InputContainer, name: str, fps: float | None = None, threads: int = 1, live: bool = False
    ) -> None:
        """fps: for streams without a clock; live ones, whose pictures come when they are taken, are timed as they come.
        threads: of the decoder. Raises SourceMissing: no video to be read."""
        self._container, self._name, self._live = container, name, live
        self.stream = _video_of(container, name)
        self.stream.codec_context.thread_count = threads
        self.stream.codec_context.thread_type = "AUTO" if threads > 1 else "NONE"
        self.has_clock = FormatFlags.no_timestamps not in FormatFlags(container.format.flags)
        self.fps = _rate_of(self.stream)
        if not self.has_clock:
            self.fps = fps or self.fps
            if fps is None and not live:
                log.warning("%s has no clock: %.6g frames a second are assumed (--fps N)", name, self.fps)
        elif fps is not None:
            log.warning("%s has time stamps of its own: --fps is not used", name)
        self.damaged = self.patched = 0
        self.end_s = 0.0  # of the last frame
        self._falls = {"pts": 0, "dts": 0}
        self._last: dict[str, int] = {}
        self._clock = Clock(1 / self.fps)
        self._pictures = Pictures(name)

    @property
    def length(self) -> int | None:
        """Frames to be expected, by what the header says: an estimate."""
        if self.stream.frames > 0:
            return self.stream.frames
        if self.stream.duration and self.stream.time_base:
            return round(float(self.stream.duration * self.stream.time_base) * self.fps) or None
        if self._container.duration:
            return round(self._container.duration / av.time_base * self.fps) or None
        return None

    @property
    def stated_end_s(self) -> float | None:
        """Where the last frame ends by what the header says of this very stream; None where that is an estimate."""
        if {"mp4", "mov"} & set(self._container.format.name.split(",")) and self.stream.duration:
            return float(self.stream.duration * (self.stream.time_base or 0))
        match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self.stream.metadata.get("DURATION", ""))  # Matroska
        return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for packet in self._packets():
            self._clock.decoding(packet.dts)
            frames = self._decoded(packet)[::-1]
            while frames:
                frame = frames.pop()
                self.patched += frame.is_corrupt
                time_s, image = self._clock(self._stamp_s(frame)), self._pictures(frame)
                self.end_s = time_s + float((frame.duration or 0) * (frame.time_base or 0))
                del frame  # its buffer is the decoder's, who can use it for the next one
                yield time_s, image

    def _packets(self) -> Iterator[av.Packet[VideoStream]]:
        """All packets of the stream, going on behind places that the demuxer cannot read."""
        failures = 0
        while True:
            try:
                for packet in self._container.demux(self.stream):
                    failures = 0
                    yield packet
                return
            except av.error.InvalidDataError:
                self.damaged += 1
                failures += 1
                if failures > IN_VAIN:
                    raise

    def _decoded(self, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
        try:
            return packet.decode()
        except av.error.EOFError:  # a second flush
            return []
        except (av.error.InvalidDataError, av.error.PatchWelcomeError, av.error.ExternalError):
            self.damaged += 1
            return []

    def _stamp_s(self, frame: av.VideoFrame) -> float | None:
        """When to show the frame, seconds by the stream's clock, or by ours; None where nobody says.

        That is its presentation stamp, unless those fall back more often than the decoding stamps, which should be in
        the order of the packets: AVI has no presentation stamps, and what stands for them is out of order.
        """
        if not self.has_clock:
            return time.monotonic() if self._live else None
        stamps = {"pts": frame.pts, "dts": frame.dts}
        for kind, stamp in stamps.items():
            if stamp is not None:
                self._falls[kind] += stamp <= self._last.get(kind, stamp - 1)
                self._last[kind] = stamp
        chosen = stamps["pts"] if self._falls["pts"] <= self._falls["dts"] else stamps["dts"]
        base = frame.time_base or self.stream.time_base
        return None if chosen is None or base is None else float(chosen * base)


def _video_of(container: InputContainer, name: str) -> VideoStream:
    """The video stream to be shown: the one marked as default, else the largest; no covers."""
    videos = [s for s in container.streams.video if not Disposition(s.disposition) & PICTURES]
    if not videos:
        what = "a cover picture" if container.streams.video else "sound or data"
        raise SourceMissing(f"cannot open {name}: it holds no video, only {what}")
    if all(s.codec_context is None for s in videos):
        raise SourceMissing(f"cannot open {name}: there is no decoder for its video")
    return max(
        (s for s in videos if s.codec_context is not None),
        key=lambda s: (bool(Disposition(s.disposition) & Disposition.default), s.width * s.height, -s.index),
    )


def _rate_of(stream: VideoStream) -> float:
    """The nominal rate that the stream states, frames per second."""
    for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate and 0 < rate <= FASTEST_FPS:
            return float(rate)
    return NOMINAL_FPS
