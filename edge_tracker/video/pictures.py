"""From what decoders give to pictures: uint8 BGR, upright, deep ones stretched. Knows nothing of files and streams."""

from __future__ import annotations

import struct
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from edge_tracker.errors import SourceMissing

OUTLIERS = 0.1  # percent of the pixels at each end that may be clipped: dead pixels, the sun


class Stretch:
    """Pictures of more than 8 bits as uint8, by the range of values in the first of them.

    A thermal camera uses some hundred of 65536 levels; cut to the upper 8 bits they would all be one grey. The range is
    kept, so that brightness stays comparable from frame to frame.
    """

    def __init__(self) -> None:
        self._range: tuple[float, float] | None = None

    def __call__(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """image: any integer or float dtype, any shape; NaN counts as the lowest value."""
        if image.dtype == np.uint8:
            return image
        values = np.nan_to_num(image, nan=-np.inf) if image.dtype.kind == "f" else image
        if self._range is None:
            finite = values[np.isfinite(values)] if image.dtype.kind == "f" else values
            low, high = np.percentile(finite, (OUTLIERS, 100 - OUTLIERS)) if finite.size else (0.0, 1.0)
            self._range = float(low), float(high)
        low, high = self._range
        scaled = (np.clip(values, low, high).astype(np.float32) - low) * (255 / max(high - low, 1e-12))
        return np.rint(scaled).astype(np.uint8)


class Pictures:
    """Turns the decoded frames of one stream into images. `name` is the stream's, for errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reformatter = VideoReformatter()  # keeps its tables from frame to frame
        self._stretch = Stretch()
        self._turned: int | None = None  # degrees by which the last frame was to be turned, None before the first
        self._matrix: bytes | None = None

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) BGR, upright; the fields of interlaced frames stay woven. Raises SourceMissing."""
        try:
            image = self._bgr(frame)
        except (ValueError, av.FFmpegError) as error:
            raise SourceMissing(
                f"{self._name} has pictures of the format {frame.format.name}, which cannot be converted to 8 bits a "
                "colour: convert it first (ffmpeg -i FILE -pix_fmt yuv420p ...)"
            ) from error
        if self._turned is None or frame.rotation != self._turned:
            # Side data and its frame hold each other: asked for of every frame, they would fill the memory.
            matrix = frame.side_data.get("DISPLAYMATRIX")
            self._turned, self._matrix = frame.rotation, None if matrix is None else bytes(cast(Any, matrix))
        return image if self._matrix is None else upright(image, self._matrix)

    def _bgr(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        wide = _wide_format(frame.format)
        if wide is None:
            return _pixels(self._reformatter.reformat(frame, format="bgr24", threads=1))
        values = self._reformatter.reformat(frame, format=wide, threads=1).to_ndarray()
        grey = self._stretch(values)
        return np.repeat(grey[:, :, None], 3, axis=2) if grey.ndim == 2 else np.ascontiguousarray(grey[:, :, 2::-1])


def _pixels(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The pixels of a bgr24 frame, (H, W, 3), in the frame's own memory where its rows are not padded."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : 3 * frame.width]
    return np.ascontiguousarray(rows).reshape(frame.height, frame.width, 3)


def _wide_format(pixels: av.VideoFormat) -> str | None:
    """The format that keeps all levels of `pixels`, where 8 bits are not enough for them: grey and RGB of sensors.

    10 and 12 bits of a film's colours have their black and white where 8 bits have it, and are converted as usual.
    """
    name = pixels.name
    bits = max(component.bits for component in pixels.components)
    if name.startswith("gray") and bits > 8:
        return "grayf32le" if "f" in name[4:] else "gray16le"
    if pixels.is_rgb and (bits > 12 or "f16" in name or "f32" in name):
        return "gbrpf32le" if "f16" in name or "f32" in name else "rgb48le"
    return None


def upright(image: NDArray[np.uint8], matrix: bytes) -> NDArray[np.uint8]:
    """Turn and flip `image` as a display matrix says (ISO/IEC 14496-12, 6.2.2): 9 int32, here to the nearest quarter.

    A point (x, y) of the image is shown at (a x + c y, b x + d y).
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    if abs(a) + abs(d) < abs(b) + abs(c):
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    turned = image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return np.ascontiguousarray(turned)
