"""What is asked of a local camera, `camera:0?size=1280x720&fps=30&format=MJPG`: the same words for every way to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import ConfigError
from edge_tracker.settings import Between, assign, check


@dataclass(frozen=True)
class CaptureSettings:
    """None is the camera's own choice."""

    size: Annotated[str | None, "WIDTHxHEIGHT"] = None
    fps: Annotated[float, Between(0, 1000, above=True), "frames per second"] | None = None
    format: Annotated[str | None, "of the pixels: four characters of V4L2 (MJPG, YUYV), a name of libcamera's"] = None

    def __post_init__(self) -> None:
        check(self)
        _ = self.width_height

    @property
    def width_height(self) -> tuple[int, int] | None:
        if self.size is None:
            return None
        match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", self.size)
        if match is None:
            raise ConfigError(f"size is WIDTHxHEIGHT, not {self.size!r}")
        return int(match[1]), int(match[2])


def parsed_camera(spec: str) -> tuple[int, CaptureSettings]:
    """Number and settings of `KIND:[N][?option=value&...]`. Raises ConfigError."""
    place, _, query = spec.partition(":")[2].partition("?")
    if not re.fullmatch(r"-?[0-9]{0,4}", place):
        raise ConfigError(f"a camera is named by its number, not {place!r}")
    given = [f"{name}={value}" for name, value in parse_qsl(query, keep_blank_values=True)]
    return int(place or 0), assign(CaptureSettings(), given)


def without_padding(data: NDArray[np.uint8], width: int, height: int, channels: int, stride: int) -> NDArray[np.uint8]:
    """Rows of `stride` bytes as (height, width, channels): cameras pad rows to 32 or 64 bytes."""
    rows = data.reshape(-1)[: stride * height].reshape(height, stride)
    return np.ascontiguousarray(rows[:, : width * channels]).reshape(height, width, channels)


def yuv420_to_bgr(data: NDArray[np.uint8], width: int, height: int, stride: int) -> NDArray[np.uint8]:
    """Planes Y, U, V (4:2:0), rows of `stride` and `stride` / 2 bytes, as (height, width, 3) BGR. Even sizes."""
    flat = data.reshape(-1)
    luma = flat[: stride * height].reshape(height, stride)[:, :width]
    chroma = flat[stride * height :][: stride * height // 2].reshape(height, stride // 2)[:, : width // 2]
    planes = np.concatenate([luma.reshape(-1), chroma.reshape(-1)]).reshape(height * 3 // 2, width)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), dtype=np.uint8)
