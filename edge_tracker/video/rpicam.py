"""A Raspberry Pi's camera through the program rpicam-vid and a pipe: needs no Python package of the system's."""

from __future__ import annotations

import os
import selectors
import shutil
import time
from collections.abc import Iterator

import numpy as np

from edge_tracker.errors import SourceLost, SourceMissing
from edge_tracker.video.capture import parsed_camera, yuv420_to_bgr
from edge_tracker.video.program import start_program, stop_program
from edge_tracker.video.source import NOMINAL_FPS, Frame, Source

PROGRAMS = ("rpicam-vid", "libcamera-vid")  # of bookworm and later, and before
SIZE = (1280, 720)
STRIDE = 64  # bytes that rows are padded to; by some versions of the program, so we ask for what needs no padding
FRAME_S = 4.0
FIRST_FRAME_S = 10.0  # the sensor starts, exposure settles


class RpicamSource(Source):
    """`rpicam:[N][?size=...&fps=...]`. Raises SourceMissing where there is none, SourceLost when it hangs or stops."""

    live = True

    def __init__(self, spec: str) -> None:
        number, settings = parsed_camera(spec)
        self.name = f"rpicam {number}"
        program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
        if program is None:
            raise SourceMissing("rpicam-vid is not there: apt install rpicam-apps-lite")
        self.fps = settings.fps or NOMINAL_FPS
        width, height = settings.width_height or SIZE
        if width % STRIDE or height % 2:
            raise SourceMissing(
                f"rpicam: takes a width that is a multiple of {STRIDE} and an even height, not {width}x{height}"
            )
        self._width, self._height = width, height
        options = {"camera": number, "width": self._width, "height": self._height, "framerate": f"{self.fps:g}"}
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        arguments = ["--codec", "yuv420", "--timeout", "0", "--nopreview", "--flush", *flags, "--output", "-"]
        self._process = start_program(program, arguments)

    def __iter__(self) -> Iterator[Frame]:
        index, start, last_s = 0, 0.0, -1.0
        size = self._width * self._height * 3 // 2
        while True:
            data = self._read(size, FRAME_S if index else FIRST_FRAME_S)
            if data is None:
                raise self._ended(index)
            now = time.monotonic()
            start = start if index else now
            last_s = max(now - start, last_s + 1e-6)
            image = yuv420_to_bgr(np.frombuffer(data, np.uint8), self._width, self._height, self._width)
            yield Frame(index, last_s, image, taken_at=time.time())
            index += 1

    def close(self) -> None:
        stop_program(self._process)

    def _read(self, size: int, timeout_s: float) -> bytearray | None:
        """The next `size` bytes; None where the pipe ends. Raises SourceLost where they do not come in time."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        data = bytearray()
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(data) < size:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise SourceLost(f"{self.name} gave no frame for {timeout_s:.0f} s")
                chunk = os.read(pipe, size - len(data))
                if not chunk:
                    return None
                data += chunk
        return data

    def _ended(self, frames: int) -> SourceLost | SourceMissing:
        assert self._process.stderr is not None
        self._process.kill()
        said = self._process.stderr.read(4096).decode("utf-8", "replace").strip().splitlines()
        reason = said[-1] if said else "it ended"
        if frames == 0:
            return SourceMissing(f"cannot open {self.name}: {reason}")
        return SourceLost(f"{self.name} stopped after {frames} frames: {reason}")
