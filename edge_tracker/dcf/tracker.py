"""The closed-form tracker: two filters find the place, a regressor and a scale filter the size."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import Backbone, Tap
from edge_tracker.boxes import Box, centre, keep_in_frame
from edge_tracker.config import DcfConfig
from edge_tracker.dcf.basis import Projection
from edge_tracker.dcf.box_regression import BoxRegressor
from edge_tracker.dcf.correlation import CorrelationFilter
from edge_tracker.dcf.response import PITCH_PX, find_peak, motion_prior, resampling
from edge_tracker.dcf.ridge import RidgeFilter, neighbourhoods
from edge_tracker.dcf.scale import ScaleFilter
from edge_tracker.images import size_of
from edge_tracker.roi import Window, crop, is_plain
from edge_tracker.track import Track, TrackState

SMALLEST_SIDE_PX = 8.0


class Grid(NamedTuple):
    """Where the cells of a tap lie over the crop: cell i is centred on pixel stride * i + offset."""

    cells: int
    stride: int
    offset_px: float

    @classmethod
    def of(cls, tap: Tap, input_side: int) -> Grid:
        return cls(input_side // tap.stride, tap.stride, tap.stride / 2 + tap.receptive_offset_px)

    def cell(self, px: float) -> float:
        """Crop pixel -> cell, the centre of cell i being i."""
        return (px - self.offset_px) / self.stride


class DcfTracker:
    """Tracks one target with a frozen backbone. Images are uint8 (H, W, 3) BGR, boxes pixels (see `boxes`)."""

    def __init__(self, backbone: Backbone, basis: list[Projection], config: DcfConfig) -> None:
        """backbone: gives a coarse tap, then a fine one. basis: their projections."""
        self.backbone, self.config = backbone, config
        self.box: Box = (0.0, 0.0, 1.0, 1.0)  # may be set from outside: what was learned is kept
        self._coarse, self._fine = basis[0].first(config.channels), basis[1].first(config.fine_channels)
        self._side = backbone.info.input_side
        self._coarse_grid, self._fine_grid = (Grid.of(tap, self._side) for tap in backbone.info.taps)
        # A filter sees as far to all sides only from the middle of the coarse grid.
        self._middle_px = self._coarse_grid.offset_px + self._coarse_grid.stride * (self._coarse_grid.cells - 1) / 2

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        """Learn the target from its box in the first image."""
        c = self.config
        self._random = np.random.default_rng(c.seed)
        self.box, self._frame = box, 0
        self._smallest_px = max(1.0, min(SMALLEST_SIDE_PX, *box[2:]))
        window = self._window(box)
        coarse, fine = self._features(image, window)
        place, size = self._on_crop(box, window)
        self._ridge = RidgeFilter(c.ridge, c.anchor, c.solver_steps)
        samples = [(neighbourhoods(coarse), self._target_map(place, size), 3.0)]
        for number in range(c.views):
            samples.append(self._view(image, box, blurred=number % 4 == 3))
        self._ridge.start(samples)
        grid = self._fine_grid
        middle = grid.cell(self._middle_px)
        self._correlation = CorrelationFilter(grid.cells, (middle, middle), ridge=1e-2)
        sigma = c.fine_sigma * math.sqrt(size[0] * size[1]) / grid.stride
        self._correlation.start(self._correlation.transform(fine), (grid.cell(place[0]), grid.cell(place[1])), sigma)
        self._regressor = BoxRegressor(fine, self._fine_box(box, window), c.box_ridge, self._random)
        self._scale = ScaleFilter(box[2:], c.scale_levels, c.scale_step, c.scale_area_px)
        grey, moved = self._grey(image, box)
        self._scale.learn(grey, moved, 1.0)

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image and learn from it."""
        c = self.config
        self._frame += 1
        window = self._window(self.box)
        patch = crop(image, window, self._side)
        if is_plain(patch):
            return Track(self.box, 0.0, TrackState.LOST)
        coarse, fine = self._project(patch)
        rows = neighbourhoods(coarse)
        transformed = self._correlation.transform(fine)
        response = self._respond(rows, transformed)
        _, size = self._on_crop(self.box, window)
        points = len(response)
        prior = motion_prior(points, (self._middle_px, self._middle_px), c.motion_sigma * self._side)
        peak = find_peak(response, prior, math.sqrt(size[0] * size[1]))
        self.peak = peak
        box = self._box_at(peak.place_px, window)
        gate = min(max((peak.height - c.gate_low) / (c.gate_high - c.gate_low), 0.0), 1.0)
        if peak.height > 0:
            box = self._refine(fine, box, window)
            grey, moved = self._grey(image, box)
            factor = min(max(self._scale.estimate(grey, moved), 0.5), 2.0)
            box = keep_in_frame(_scaled(box, factor), size_of(image), self._smallest_px)
        else:
            box = keep_in_frame(box, size_of(image), self._smallest_px)
        self.box = box
        if gate > 0:
            self._learn(image, window, rows, transformed, fine, gate)
        confidence = min(max(peak.height, 0.0), 1.0)
        return Track(self.box, confidence, TrackState.TRACKED)

    def _learn(
        self,
        image: NDArray[np.uint8],
        window: Window,
        rows: NDArray[np.float32],
        transformed: NDArray[np.float32],
        fine: NDArray[np.float32],
        gate: float,
    ) -> None:
        """Learn the present box, each rate scaled by `gate`."""
        c = self.config
        place, size = self._on_crop(self.box, window)
        if self._frame % c.learn_every == 0:
            rate = 1 - (1 - c.rate * gate) ** c.learn_every
            self._ridge.learn(rows, self._target_map(place, size), rate)
            grid = self._fine_grid
            rate = 1 - (1 - c.fine_rate * gate) ** c.learn_every
            self._correlation.learn(transformed, (grid.cell(place[0]), grid.cell(place[1])), rate)
        if self._frame % c.box_learn_every == 0:
            self._regressor.learn(fine, self._fine_box(self.box, window))
        if self._frame % c.scale_learn_every == 0:
            grey, moved = self._grey(image, self.box)
            self._scale.learn(grey, moved, 1 - (1 - c.scale_rate) ** c.scale_learn_every)

    def _window(self, box: Box, scale: float = 1.0) -> Window:
        """The ROI, `box` in its middle as the filters see it."""
        cx, cy = centre(box)
        side = max(8, round(scale * self.config.roi_scale * math.sqrt(box[2] * box[3])))
        middle = self._middle_px * side / self._side
        return Window(round(cx - middle), round(cy - middle), side)

    def _features(self, image: NDArray[np.uint8], window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._project(crop(image, window, self._side))

    def _project(self, patch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Coarse (n, n, D) and fine (m, m, E) features of a crop."""
        coarse, fine = self.backbone(patch)
        return self._coarse(coarse), self._fine(fine)

    def _on_crop(self, box: Box, window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
        """Centre and size of an image box in crop pixels."""
        k = self._side / window.side
        cx, cy = centre(box)
        return ((cx - window.x) * k, (cy - window.y) * k), (box[2] * k, box[3] * k)

    def _box_at(self, place: tuple[float, float], window: Window) -> Box:
        """The last box, moved to a place in crop pixels."""
        k = window.side / self._side
        _, _, w, h = self.box
        return window.x + place[0] * k - w / 2, window.y + place[1] * k - h / 2, w, h

    def _fine_box(self, box: Box, window: Window) -> Box:
        """Image box -> cells of the fine grid."""
        (cx, cy), (w, h) = self._on_crop(box, window)
        grid = self._fine_grid
        w, h = w / grid.stride, h / grid.stride
        return grid.cell(cx) - w / 2, grid.cell(cy) - h / 2, w, h

    def _target_map(self, place: tuple[float, float], size: tuple[float, float]) -> NDArray[np.float32]:
        """A Gaussian at `place`, `size` (crop pixels), on the coarse grid: (n n,)."""
        grid = self._coarse_grid
        cells = np.arange(grid.cells)
        lines = []
        for centre_px, side_px in zip(reversed(place), reversed(size), strict=True):
            sigma = max(0.6, self.config.target_sigma * side_px / grid.stride)
            lines.append(np.exp(-0.5 * ((cells - grid.cell(centre_px)) / sigma) ** 2))
        return np.outer(*lines).astype(np.float32).ravel()

    def _view(
        self, image: NDArray[np.uint8], box: Box, blurred: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """A shifted and zoomed view of frame 1 as a sample for the ridge."""
        zoom = 1.04 ** self._random.uniform(-2, 2)
        base = self._window(box, zoom)
        dx, dy = (self._random.uniform(-0.35, 0.35, 2) * 0.8 * base.side).round().astype(int).tolist()
        window = Window(base.x + dx, base.y + dy, base.side)
        patch = crop(image, window, self._side)
        if blurred:
            patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), 1.5), np.uint8)
        coarse, _ = self._project(patch)
        place, size = self._on_crop(box, window)
        return neighbourhoods(coarse), self._target_map(place, size), 0.5

    def _respond(self, rows: NDArray[np.float32], transformed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Both filters' answers on one grid of PITCH_PX: (P, P)."""
        points = self._side // PITCH_PX
        coarse, fine = self._coarse_grid, self._fine_grid
        up = resampling(coarse.cells, coarse.stride, coarse.offset_px, points)
        up_fine = resampling(fine.cells, fine.stride, fine.offset_px, points)
        wide = self._ridge.respond(rows).reshape(coarse.cells, coarse.cells)
        narrow = self._correlation.respond(transformed)
        response: NDArray[np.float32] = up @ wide @ up.T
        response += np.float32(self.config.fine_weight) * (up_fine @ narrow @ up_fine.T)
        return response

    def _refine(self, fine: NDArray[np.float32], box: Box, window: Window) -> Box:
        """Move and scale `box` part of the way that the regressor says."""
        dx, dy, lw, lh = np.clip(self._regressor.predict(fine, self._fine_box(box, window)), -0.2, 0.2).tolist()
        position, size, aspect = self.config.box_gain
        cx, cy = centre(box)
        cx, cy = cx + position * dx * box[2], cy + position * dy * box[3]
        grow, stretch = size * (lw + lh) / 2, aspect * (lw - lh) / 2
        w, h = box[2] * math.exp(grow + stretch), box[3] * math.exp(grow - stretch)
        return cx - w / 2, cy - h / 2, w, h

    def _grey(self, image: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.uint8], Box]:
        """The surroundings of `box` in grey, and `box` in them: the scale filter reads no more."""
        x, y, w, h = box
        reach = max(w, h)
        width, height = size_of(image)
        left, top = (int(min(max(v - reach, 0), limit - 8)) for v, limit in ((x, width), (y, height)))
        right, bottom = int(min(x + w + reach, width)) + 1, int(min(y + h + reach, height)) + 1
        part = image[max(top, 0) : max(bottom, top + 8), max(left, 0) : max(right, left + 8)]
        return np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), np.uint8), (x - max(left, 0), y - max(top, 0), w, h)


def _scaled(box: Box, factor: float) -> Box:
    """The same centre, both sides times `factor`."""
    cx, cy = centre(box)
    w, h = box[2] * factor, box[3] * factor
    return cx - w / 2, cy - h / 2, w, h
