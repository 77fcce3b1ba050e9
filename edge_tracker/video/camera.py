"""Cameras of this machine, through OpenCV."""

from __future__ import annotations

import os
from collections.abc import Iterator

import cv2

from edge_tracker.errors import SourceMissing
from edge_tracker.video.capture import CaptureSettings
from edge_tracker.video.opencv import live_frames, quiet_opencv
from edge_tracker.video.source import NOMINAL_FPS, Frame, Source

FASTEST_FPS = 1000.0


class CameraSource(Source):
    """Camera number `index`. Raises SourceMissing where there is none, SourceLost when it goes away."""

    live = True

    def __init__(self, index: int, settings: CaptureSettings | None = None) -> None:
        """settings: asked of the device, which may give others: frames say their size themselves."""
        if index < 0:
            raise SourceMissing(f"cameras are numbered from 0, not {index}")
        self.name = f"camera {index}"
        with quiet_opencv():
            self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise SourceMissing(f"cannot open {self.name}: {_why_not(index)}")
        self._ask(settings or CaptureSettings())
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= FASTEST_FPS else NOMINAL_FPS

    def _ask(self, settings: CaptureSettings) -> None:
        # The pixel format first: it decides which sizes and rates there are.
        if settings.format is not None:
            if len(settings.format) != 4:
                self.close()
                raise SourceMissing(f"a V4L2 pixel format has four characters, as MJPG, not {settings.format!r}")
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.format))
        if settings.width_height is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width_height[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.width_height[1])
        if settings.fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, settings.fps)

    def __iter__(self) -> Iterator[Frame]:
        return live_frames(self._capture, self.name)

    def close(self) -> None:
        self._capture.release()


def _why_not(index: int) -> str:
    device = f"/dev/video{index}"
    if not os.path.exists(device):  # noqa: PTH110
        return "no such camera"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no permission to use {device} (add the user to the group video)"
    return f"another program has it, or {device} gives no pictures (a camera has several devices)"
