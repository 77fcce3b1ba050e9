"""A GStreamer pipeline, where OpenCV was built with it: distributions' packages are, the wheels of PyPI are not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import cv2

from edge_tracker.errors import SourceMissing
from edge_tracker.video.opencv import live_frames, quiet_opencv
from edge_tracker.video.source import NOMINAL_FPS, Frame, Source

END = "! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


class GStreamerSource(Source):
    """`gst:PIPELINE`; without an appsink of its own, one that gives the newest picture is added.

    Raises SourceMissing, SourceLost.
    """

    live = True

    def __init__(self, spec: str) -> None:
        pipeline = spec.partition(":")[2].strip()
        self.name = "GStreamer pipeline"  # which may hold passwords
        if not _has_gstreamer():
            raise SourceMissing(
                "this OpenCV was built without GStreamer: use the distribution's python3-opencv, an RTSP or V4L2 "
                "source, or feed Tracker from an appsink of your own (docs/embedding.md)"
            )
        if "appsink" not in pipeline:
            pipeline = f"{pipeline} {END}"
        with quiet_opencv():
            self._capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
        if not self._capture.isOpened():
            raise SourceMissing("the GStreamer pipeline does not start: try it with gst-launch-1.0")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else NOMINAL_FPS

    def __iter__(self) -> Iterator[Frame]:
        return live_frames(self._capture, self.name)

    def close(self) -> None:
        self._capture.release()


def _has_gstreamer() -> bool:
    return any(re.match(r"\s*GStreamer:\s+YES", line) for line in cv2.getBuildInformation().splitlines())
