"""Video files, pipes and FIFOs, read with PyAV (FFmpeg)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer

from edge_tracker.errors import SourceMissing
from edge_tracker.recognise import mistaken
from edge_tracker.video.cut_short import cut_short
from edge_tracker.video.decode import Decoder
from edge_tracker.video.source import Frame, Source

# A playlist on the disk may name what lies beside it, and nothing on the network.
LOCAL_ONLY = {"protocol_whitelist": "file,pipe,crypto,data"}
STANDARD_INPUT = "-"
MISSING_S, MISSING = 0.5, 0.1  # a file shorter than it states by both, seconds and share of it, is worth a word

log = logging.getLogger(__name__)


class FileSource(Source):
    """A video file, or a pipe through which one comes. Raises SourceMissing where it is none."""

    def __init__(
        self, path: str | Path, fps: float | None = None, threads: int = 1, container: str | None = None
    ) -> None:
        """fps: where the file has no clock. threads: of the decoder. container: its format, by default as it looks."""
        piped = str(path) == STANDARD_INPUT
        self.name = "standard input" if piped else _shown(path)
        self._path = Path("/dev/stdin" if piped else path)
        self._container = _opened("pipe:0" if piped else local_url(self._path), self._path, self.name, container)
        try:
            self._decoder = Decoder(self._container, self.name, fps, threads)
        except BaseException:
            self._container.close()
            raise
        regular = self._path.is_file()
        self.paths = (self._path,) if regular else ()
        self.fps, self.length = self._decoder.fps, self._decoder.length if regular else None

    def __iter__(self) -> Iterator[Frame]:
        frames = 0
        try:
            for time_s, image in self._decoder:
                yield Frame(frames, time_s, image)
                frames += 1
        except av.FFmpegError as error:
            raise SourceMissing(f"{self.name} cannot be read on after {frames} frames: {_reason(error)}") from error
        damaged, patched = self._decoder.damaged, self._decoder.patched
        if frames == 0:
            raise SourceMissing(f"{self.name} gives no frame: it is empty or broken")
        if self.paths and cut_short(self._path):
            raise SourceMissing(f"{self.name} ends after {frames} frames: it is truncated, its header states more")
        stated, read = self._decoder.stated_end_s, self._decoder.end_s
        if stated is not None and stated - read > max(MISSING_S, MISSING * stated):
            log.warning(
                "%s states a length of %.1f s, but its frames end at %.1f s: it may be damaged", self.name, stated, read
            )
        if damaged or patched:
            log.warning(
                "%s is damaged: %d packets were skipped, %d frames came through, %d of them with faults",
                *(self.name, damaged, frames, patched),
            )

    def close(self) -> None:
        self._container.close()


def local_url(path: Path) -> str:
    """A path as FFmpeg takes it: absolute, and whatever stands in it, a file. Bytes that are no UTF-8 come through."""
    return f"file:{Path.cwd() / path}"


def _shown(path: str | Path) -> str:
    """A name that can be printed, whatever bytes it holds."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _opened(url: str, path: Path, name: str, container: str | None) -> InputContainer:
    try:
        return av.open(url, "r", format=container, options=dict(LOCAL_ONLY), metadata_errors="replace")
    except (av.FFmpegError, ValueError, OSError) as error:
        reason = mistaken(path) or f"no video that can be decoded ({_reason(error)})"
        raise SourceMissing(f"cannot open {name}: {reason}") from error


def _reason(error: BaseException) -> str:
    text: str | None = getattr(error, "strerror", None)
    return (text or type(error).__name__).lower()
