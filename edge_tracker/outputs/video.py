"""The source's pictures with the tracks drawn in, as a video file with the source's own time stamps."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from edge_tracker.errors import OutputError
from edge_tracker.outputs.annotate import annotate
from edge_tracker.outputs.base import ResultFile, cannot_write, shown
from edge_tracker.track import Track
from edge_tracker.video.files import local_url
from edge_tracker.video.source import Frame

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
ENCODERS = ("libx264", "libopenh264", "h264_v4l2m2m", "mpeg4")  # H.264 plays everywhere; the last is always there
TICKS_PER_S = 90_000  # of the file's time stamps: MPEG's own clock, fine enough for any rate
BT709 = 1  # in ITU-T H.273's tables: primaries, transfer and matrix of HD
QUALITY = {"libx264": {"preset": "veryfast", "crf": "20"}}


class VideoOutput:
    """Writes .mp4, .m4v, .mov, .mkv (H.264, time stamps of the source) or .avi (at the nominal rate `fps`).

    The first frame sets the size; later ones of another size are scaled to it. Odd sizes get a row or column more,
    which H.264 needs: nothing is cut.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        path = Path(path)
        if path.suffix.lower() not in CONTAINERS:
            raise OutputError(f"cannot write {shown(path)}: a video ends in {', '.join(CONTAINERS)}")
        self._file = ResultFile(path)
        self._rate = Fraction(fps).limit_denominator(1001)
        self._period_s = float(1 / self._rate)
        # AVI has no time stamps: its frames are numbered.
        self._base = 1 / self._rate if path.suffix.lower() == ".avi" else Fraction(1, TICKS_PER_S)
        self._container: OutputContainer | None = None
        self._stream: VideoStream
        self._size = (0, 0)
        self._reformatter = VideoReformatter()
        self._last = -1
        self._closed = False
        self._failure: OutputError | None = None  # after one FFmpeg's muxer writes no more, or falls over
        try:  # the container opens with the first frame, but the user should hear of a bad path now
            self._file.partial.open("wb").close()
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        if self._failure is not None:
            raise self._failure
        picture = annotate(frame.image, tracks)
        height, width = picture.shape[:2]
        if self._container is None:
            self._size = (width, height)
            self._open()
        if (width, height) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size), dtype=np.uint8)
        picture = even(picture)
        coded = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(picture, format="bgr24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            threads=1,
        )
        self._last = max(self._last + 1, round(frame.time_s / self._base))
        coded.pts, coded.time_base = self._last, self._base
        self._mux(coded)

    def close(self, complete: bool) -> None:
        if self._closed:
            return
        self._closed = True
        if self._container is None:  # no frame came
            self._file.finish(complete=False, empty=True)
            return
        try:
            if self._failure is None:
                self._mux(None)
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        finally:
            self._container = None
        if self._failure is not None:
            partial = self._file.partial
            self._file.finish(complete=False, empty=partial.exists() and partial.stat().st_size == 0)
            raise self._failure
        self._file.finish(complete)

    def _open(self) -> None:
        options = {"movflags": "+faststart"}  # the index first: a browser can begin before it has all
        suffix = self._file.path.suffix.lower()
        try:
            self._container = av.open(
                local_url(self._file.partial), "w", format=CONTAINERS[suffix], container_options=options
            )
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        width, height = (v + v % 2 for v in self._size)
        for encoder in ENCODERS:
            try:
                av.codec.Codec(encoder, "w")
            except (av.FFmpegError, ValueError):
                continue
            options = dict(QUALITY.get(encoder, {}))
            self._stream = cast(VideoStream, self._container.add_stream(encoder, rate=self._rate, options=options))
            break
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = self._stream.time_base = self._base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.thread_count = 1
        try:
            self._container.start_encoding()  # now, as a disk that is full is to be heard of now
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _mux(self, frame: av.VideoFrame | None) -> None:
        assert self._container is not None
        try:
            for packet in self._stream.encode(frame):
                if not packet.duration:
                    packet.duration = max(1, round(self._period_s / (packet.time_base or self._base)))
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> OutputError:
        path = self._file.path
        if isinstance(error, OSError):
            self._failure = cannot_write(path, error)
        else:
            self._failure = OutputError(f"cannot write {shown(path)}: {getattr(error, 'strerror', None) or error}")
        return self._failure


def even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`picture` (H, W, 3) with its last row and column repeated where H or W is odd."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
