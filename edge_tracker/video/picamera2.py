"""A Raspberry Pi's camera through the picamera2 library, which only Raspberry Pi's own package archive has.

Its "RGB888" is blue, green, red in memory: our order, with no copy for colours. `configure()` may change what was asked
for, so what it really gives is read afterwards. Rows are padded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import SourceLost, SourceMissing, first_line
from edge_tracker.video.capture import parsed_camera, without_padding, yuv420_to_bgr
from edge_tracker.video.source import NOMINAL_FPS, Frame, Source

SIZE = (1280, 720)
BUFFERS = 4
FRAME_S = 4.0  # the longest that a frame may take before the camera counts as hanging
ORDERS = {  # libcamera's name -> bytes of a pixel, and what brings them into our order
    "RGB888": (3, None),
    "BGR888": (3, cv2.COLOR_RGB2BGR),
    "XRGB8888": (4, cv2.COLOR_BGRA2BGR),
    "XBGR8888": (4, cv2.COLOR_RGBA2BGR),
}


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
            main = {"size": settings.width_height or SIZE, "format": settings.format or "RGB888"}
            wanted = self._camera.create_video_configuration(
                main=main, controls={"FrameRate": self.fps}, buffer_count=BUFFERS
            )
            self._camera.configure(wanted)
            given = self._camera.camera_configuration()["main"]
            self._format, self._size, self._stride = str(given["format"]), tuple(given["size"]), int(given["stride"])
            if self._format not in ORDERS and self._format != "YUV420":
                raise SourceMissing(f"{self.name} gives {self._format}; known: {', '.join(ORDERS)}, YUV420")
            self._camera.start()
        except SourceMissing:
            self.close()
            raise
        except Exception as error:  # picamera2 raises many kinds
            self.close()
            raise SourceMissing(f"cannot start {self.name}: {first_line(error)}") from error

    def __iter__(self) -> Iterator[Frame]:
        index, first_s, last_s = 0, 0.0, -1.0
        while not self._closed:
            data, sensor_s = self._captured()
            now = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
            sensor_s = now if sensor_s is None or not 0 <= now - sensor_s < FRAME_S else sensor_s
            first_s = first_s if index else sensor_s
            last_s = max(sensor_s - first_s, last_s + 1e-6)
            yield Frame(index, last_s, self._picture(data), taken_at=time.time() - (now - sensor_s))
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

    def _captured(self) -> tuple[NDArray[np.uint8], float | None]:
        """One buffer, copied, and when the sensor took it, seconds since the machine started."""
        try:
            job = self._camera.capture_request(wait=False)
            request = self._camera.wait(job, timeout=FRAME_S)
        except TimeoutError:
            raise SourceLost(f"{self.name} gave no frame for {FRAME_S:.0f} s") from None
        except Exception as error:  # unplugged, or its process ended
            raise SourceLost(f"{self.name} stopped: {first_line(error)}") from error
        try:
            stamp = request.get_metadata().get("SensorTimestamp")
            return np.asarray(request.make_buffer("main"), dtype=np.uint8), None if stamp is None else stamp / 1e9
        except Exception as error:
            raise SourceLost(f"{self.name} gave a broken frame: {first_line(error)}") from error
        finally:
            request.release()

    def _picture(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        width, height = self._size
        if self._format == "YUV420":
            needed = self._stride * height * 3 // 2
        else:
            channels, order = ORDERS[self._format]
            needed = self._stride * height
        if data.size < needed:
            raise SourceLost(f"{self.name} gave {data.size} bytes where {needed} are a frame")
        if self._format == "YUV420":
            return yuv420_to_bgr(data, width, height, self._stride)
        image = without_padding(data, width, height, channels, self._stride)
        return image if order is None else np.asarray(cv2.cvtColor(image, order), dtype=np.uint8)
