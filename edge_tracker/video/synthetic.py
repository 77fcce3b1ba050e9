"""A clip of our own making whose truth is known exactly: for the first run, for pictures in docs, and for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, visible_share
from edge_tracker.video.source import Frame, Source

ROUND = 120  # frames of one round of the target
WHOLE = 300  # frames with all that happens
# From the end of its round on: frame, and where the centre of the target is, in shares of the frame.
COURSE = ((120, 0.5, 0.5), (150, 0.68, 0.56), (200, 0.5, 0.45), (235, -0.2, 0.5), (262, -0.2, 0.5), (285, 0.35, 0.55))
CROSSING = (130, 215)  # frames in which a panel crosses the picture, from right to left
PANEL = 0.35  # its width, in frame widths


@dataclass(frozen=True)
class SyntheticClip:
    """A textured disc drifts and swells over a textured ground while a greyer one of the same size crosses its way.

    From frame 120 on a panel passes in front of it and hides it, and it leaves the picture and comes back; all of it
    takes WHOLE frames, and after that it stays. Iterating gives (image uint8 (height, width, 3) BGR, box of the target)
    per frame; the same settings give the same pixels.
    """

    frames: int = ROUND
    width: int = 320
    height: int = 240
    target_px: int = 44
    seed: int = 7

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], Box]]:
        random = np.random.default_rng(self.seed)
        ground = _texture(random, self.height, self.width, cell_px=24, colour=(110, 120, 115), contrast=60)
        target = _texture(random, 96, 96, cell_px=16, colour=(60, 90, 200), contrast=90)
        other = _texture(random, 96, 96, cell_px=16, colour=(120, 130, 120), contrast=90)
        panel_random = np.random.default_rng([self.seed, 1])  # not to disturb what comes before it
        panel_width = round(PANEL * self.width)
        panel = _texture(panel_random, self.height, panel_width, cell_px=32, colour=(90, 140, 90), contrast=80)
        for index in range(self.frames):
            t = index / ROUND
            image = ground.copy()
            there_and_back = 1 - abs((t % 2) - 1)
            other_x, other_y = self._place(0.9 - 0.8 * there_and_back, 0.5 + 0.1 * np.cos(6 * t))
            _paste(image, other, other_x, other_y, self.target_px)
            x, y, w, h = self._box(index)
            _paste(image, target, x + w / 2, y + h / 2, w)
            left, _, right, _ = self._panel(index)
            shown = slice(max(left, 0), min(right, self.width))
            if shown.start < shown.stop:
                image[:, shown] = panel[:, shown.start - left : shown.stop - left]
            noise = random.normal(0, 3, image.shape)
            yield np.clip(image + noise, 0, 255).astype(np.uint8), (x, y, w, h)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The target's whole box in every frame, seen or not, (frames, 4)."""
        return np.array([self._box(index) for index in range(self.frames)])

    @property
    def visible(self) -> NDArray[np.float64]:
        """Visible share of that box, (frames,)."""
        panels = np.array([self._panel(index) for index in range(self.frames)])
        return visible_share(self.boxes, (self.width, self.height), panels)

    def _box(self, index: int) -> Box:
        t = index / ROUND
        swelling = t if t < 1 else (1 + t) / 2  # slower later: what comes back is not far from what went
        side = self.target_px * (1 + 0.35 * np.sin(2 * np.pi * swelling))
        if index < ROUND:
            x, y = self._place(0.5 + 0.32 * np.sin(2 * np.pi * t), 0.5 + 0.28 * np.sin(4 * np.pi * t))
        else:
            at, xs, ys = zip(*COURSE, strict=True)
            x, y = self._place(np.interp(index, at, xs), np.interp(index, at, ys))
        return float(x - side / 2), float(y - side / 2), float(side), float(side)

    def _panel(self, index: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the panel."""
        width = round(PANEL * self.width)
        left = round(float(np.interp(index, CROSSING, (self.width, -width))))
        return left, 0, left + width, self.height

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return float(x * self.width), float(y * self.height)


class ClipSource(Source):
    """A synthetic clip as a source of frames."""

    def __init__(self, clip: SyntheticClip) -> None:
        self.clip = clip
        self.length = clip.frames

    def __iter__(self) -> Iterator[Frame]:
        for index, (image, _) in enumerate(self.clip):
            yield Frame(index, index / self.fps, image)


def _texture(
    random: np.random.Generator, height: int, width: int, cell_px: int, colour: tuple[int, int, int], contrast: int
) -> NDArray[np.float32]:
    """Smooth random blotches of about `cell_px` around a mean colour (BGR): float32 (height, width, 3)."""
    coarse = random.normal(0, contrast / 2, (height // cell_px + 2, width // cell_px + 2, 3)).astype(np.float32)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(blotches + np.array(colour, np.float32), 0, 255)


def _paste(image: NDArray[np.float32], texture: NDArray[np.float32], x: float, y: float, side: float) -> None:
    """Draw `texture` as a disc of diameter `side` centred on (x, y), with sub-pixel position and soft edge."""
    height, width = image.shape[:2]
    x0, x1 = (min(max(int(v), 0), width) for v in (x - side / 2 - 1, x + side / 2 + 3))
    y0, y1 = (min(max(int(v), 0), height) for v in (y - side / 2 - 1, y + side / 2 + 3))
    if x0 >= x1 or y0 >= y1:
        return
    k = side / texture.shape[0]
    matrix = np.array([[k, 0, x - side / 2 - x0], [0, k, y - side / 2 - y0]], np.float32)
    ys, xs = np.mgrid[y0:y1, x0:x1]
    alpha = np.clip(side / 2 - np.hypot(xs - x, ys - y) + 0.5, 0, 1).astype(np.float32)[..., None]
    pasted = cv2.warpAffine(texture, matrix, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
    image[y0:y1, x0:x1] = (1 - alpha) * image[y0:y1, x0:x1] + alpha * pasted
