"""A Raspberry Pi's camera through the picamera2 library, which only Raspberry Pi's own package archive has.

Its "RGB888" is blue, green, red in memory: our order, with no copy for colours. `configure()` may change what was asked
for, so what it really gives is read afterwards. Rows are padded. A second, smaller stream ("lores") costs the processor
nothing: it is what the page shows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import SourceLost, SourceMissing, first_line
from edge_tracker.video.capture import CaptureSettings, parsed_camera, without_padding, yuv420_to_bgr
from edge_tracker.video.source import NOMINAL_FPS, Frame, Source

SIZE = (1280, 720)
SMALLER = 640  # px, width of the second stream, where the first is wider
BUFFERS = 4
FRAME_S = 4.0  # the longest that a frame may take before the camera counts as hanging
ORDERS = {  # libcamera's name -> bytes of a pixel, and what brings them into our order
    "RGB888": (3, None),
    "BGR888": (3, cv2.COLOR_RGB2BGR),
    "XRGB8888": (4, cv2.COLOR_BGRA2BGR),
    "XBGR8888": (4, cv2.COLOR_RGBA2BGR),
}
log = logging.getLogger(__name__)


class Picamera2Source(Source):
    """`picamera2:[N][?size=...&fps=...&format=...]`. Raises SourceMissing where there is none, SourceLost when it hangs
    or stops."""

    live = True

    def __init__(self, spec: str) -> None:
        number, settings = parsed_camera(spec)
        self.name = f"picamera2 {number}"
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise SourceMissing(
                f"picamera2 is not there ({first_line(error)}): apt install python3-picamera2 and a venv with "
                "--system-site-packages; or --source rpicam:, which needs neither"
            ) from None
        self.fps = settings.fps or NOMINAL_FPS
        self._closed = False
        try:
            self._camera: Any = Picamera2(number)
        except (IndexError, RuntimeError, OSError) as error:
            raise SourceMissing(f"cannot open {self.name}: {first_line(error) or 'no such camera'}") from error
        try:
            self._main, self._lores = self._configured(settings)
            self._camera.start()
        except SourceMissing:
            self.close()
            raise
        except Exception as error:  # picamera2 raises many kinds
            self.close()
            raise SourceMissing(f"cannot start {self.name}: {first_line(error)}") from error

    def _configured(self, settings: CaptureSettings) -> tuple[_Stream, _Stream | None]:
        """Ask for what is wished; what the camera really gives."""
        size = settings.width_height or SIZE
        streams: dict[str, Any] = {"main": {"size": size, "format": settings.format or "RGB888"}}
        if size[0] > SMALLER:
            # YUV420: a Pi before the fifth gives nothing else there. Even sizes.
            streams["lores"] = {"size": (SMALLER, round(SMALLER * size[1] / size[0] / 2) * 2), "format": "YUV420"}
        try:
            self._configure(streams)
        except Exception as error:  # not every camera has two streams
            if streams.pop("lores", None) is None:
                raise
            log.debug("%s: one stream: %s", self.name, first_line(error))
            self._configure(streams)
        given = self._camera.camera_configuration()
        main = _Stream.given(given["main"])
        if main.format not in ORDERS and main.format != "YUV420":
            raise SourceMissing(f"{self.name} gives {main.format}; known: {', '.join(ORDERS)}, YUV420")
        lores = _Stream.given(given["lores"]) if given.get("lores") else None
        return main, lores if lores is not None and lores.format == "YUV420" else None

    def _configure(self, streams: dict[str, Any]) -> None:
        controls = {"FrameRate": self.fps}
        wanted = self._camera.create_video_configuration(**streams, controls=controls, buffer_count=BUFFERS)
        self._camera.configure(wanted)

    def __iter__(self) -> Iterator[Frame]:
        index, first_s, last_s = 0, 0.0, -1.0
        while not self._closed:
            data, small, sensor_s = self._captured()
            now = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
            sensor_s = now if sensor_s is None or not 0 <= now - sensor_s < FRAME_S else sensor_s
            first_s = first_s if index else sensor_s
            last_s = max(sensor_s - first_s, last_s + 1e-6)
            smaller = None if small is None else self._maker(small)
            yield Frame(index, last_s, self._picture(self._main, data), time.time() - (now - sensor_s), smaller)
            index += 1

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for end in (self._camera.stop, self._camera.close):
            try:
                end()
            except Exception:  # it is gone, which is why it is closed
                continue

    def _captured(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, float | None]:
        """Both streams' buffers, copied, and when the sensor took them, seconds since the machine started."""
        try:
            job = self._camera.capture_request(wait=False)
            request = self._camera.wait(job, timeout=FRAME_S)
        except TimeoutError:
            raise SourceLost(f"{self.name} gave no frame for {FRAME_S:.0f} s") from None
        except Exception as error:  # unplugged, or its process ended
            raise SourceLost(f"{self.name} stopped: {first_line(error)}") from error
        try:
            stamp = request.get_metadata().get("SensorTimestamp")
            data = np.asarray(request.make_buffer("main"), dtype=np.uint8)
            small = None if self._lores is None else np.asarray(request.make_buffer("lores"), dtype=np.uint8)
            return data, small, None if stamp is None else stamp / 1e9
        except Exception as error:
            raise SourceLost(f"{self.name} gave a broken frame: {first_line(error)}") from error
        finally:
            request.release()

    def _maker(self, data: NDArray[np.uint8]) -> Callable[[], NDArray[np.uint8]]:
        stream = self._lores
        assert stream is not None
        return lambda: self._picture(stream, data)

    def _picture(self, stream: _Stream, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        needed = stream.stride * stream.height * 3 // 2 if stream.format == "YUV420" else stream.stride * stream.height
        if data.size < needed:
            raise SourceLost(f"{self.name} gave {data.size} bytes where {needed} are a frame")
        if stream.format == "YUV420":
            return yuv420_to_bgr(data, stream.width, stream.height, stream.stride)
        channels, order = ORDERS[stream.format]
        image = without_padding(data, stream.width, stream.height, channels, stream.stride)
        return image if order is None else np.asarray(cv2.cvtColor(image, order), dtype=np.uint8)


@dataclass(frozen=True)
class _Stream:
    """What one of the camera's streams gives; stride: bytes of a row, of luma where the format is YUV420."""

    format: str
    width: int
    height: int
    stride: int

    @classmethod
    def given(cls, configuration: Any) -> _Stream:
        width, height = configuration["size"]
        return cls(str(configuration["format"]), int(width), int(height), int(configuration["stride"]))
