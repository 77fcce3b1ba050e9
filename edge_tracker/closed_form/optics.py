"""How the tracker sees: a window of the image, scaled to the crop, through the backbone and the head's projections."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import Backbone, Tap, projected
from edge_tracker.boxes import Box, centre
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid
from edge_tracker.roi import Window, crop


class Optics:
    """Of one backbone and head; shared by nothing, but without state."""

    def __init__(self, backbone: Backbone, head: Head, config: ClosedFormConfig) -> None:
        self.side = config.input_side
        self._roi_scale = config.roi_scale
        coarse = backbone.info.tap("selection")
        self.coarse_grid = self._grid(coarse)
        self.fine_grid: Grid | None = None
        projections = {coarse.name: head.projections[coarse.name].first(config.place.channels)}
        if config.fine is not None:
            fine = backbone.info.tap("localisation")
            self.fine_grid = self._grid(fine)
            projections[fine.name] = head.projections[fine.name].first(config.fine.channels)
        self._features = projected(backbone, projections)
        # A filter sees as far to all sides only from the middle of the coarse grid.
        self.middle_px = self.coarse_grid.offset_px + self.coarse_grid.stride * (self.coarse_grid.cells - 1) / 2

    def window(self, box: Box, scale: float = 1.0) -> Window:
        """The ROI, in which `box` comes to lie in the middle of the coarse grid; `scale` times as wide as usual."""
        cx, cy = centre(box)
        side = max(8, round(scale * self._roi_scale * math.sqrt(box[2] * box[3])))
        middle = self.middle_px * side / self.side
        return Window(round(cx - middle), round(cy - middle), side)

    def crop(self, image: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
        return crop(image, window, self.side)

    def see(self, window: Window, patch: NDArray[np.uint8]) -> View:
        """The features of a crop."""
        coarse, *fine = self._features(patch)
        return View(window, patch, coarse, fine[0] if fine else None)

    def _grid(self, tap: Tap) -> Grid:
        return Grid.over(self.side, tap.stride, tap.receptive_offset_px)
