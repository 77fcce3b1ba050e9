"""How the tracker sees: a window of the image, scaled to the crop, through the backbone and the head's projections."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import Backbone, Tap, projected
from edge_tracker.boxes import Box, centre
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head
from edge_tracker.closed_form.refinement_network import COARSE, FINE
from edge_tracker.closed_form.view import View
from edge_tracker.errors import ModelError
from edge_tracker.grid import Grid
from edge_tracker.roi import Window, crop

NOT_SEEN = np.zeros((0, 0, FINE), np.float32)


class Optics:
    """Of one backbone and head; shared by nothing, but without state."""

    def __init__(self, backbone: Backbone, head: Head, config: ClosedFormConfig) -> None:
        self.side = config.input_side
        self._roi_scale = config.roi_scale
        coarse = backbone.info.tap("selection")
        self.coarse_grid = self._grid(coarse)
        fine = backbone.info.tap("localisation")
        self.fine_grid = self._grid(fine)
        projections = {
            coarse.name: head.projections[coarse.name].first(COARSE),
            fine.name: head.projections[fine.name].first(FINE),
        }
        if [projection.directions.shape[1] for projection in projections.values()] != [COARSE, FINE]:
            raise ModelError(f"the head of {backbone.info.model} has fewer than {COARSE} and {FINE} directions")
        self._features = projected(backbone, projections)
        # Where the box is not corrected in every frame, the others need the coarse features alone.
        self._coarse = projected(backbone, {coarse.name: projections[coarse.name]}) if config.box.every > 1 else None
        # The filter sees as far to all sides only from the middle of the coarse grid.
        self.middle_px = self.coarse_grid.offset_px + self.coarse_grid.stride * (self.coarse_grid.cells - 1) / 2

    def window(self, box: Box, scale: float = 1.0) -> Window:
        """The ROI, in which `box` comes to lie in the middle of the coarse grid; `scale` times as wide as usual."""
        cx, cy = centre(box)
        side = max(8, round(scale * self._roi_scale * math.sqrt(box[2] * box[3])))
        middle = self.middle_px * side / self.side
        return Window(round(cx - middle), round(cy - middle), side)

    def crop(self, image: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
        return crop(image, window, self.side)

    def see(self, window: Window, patch: NDArray[np.uint8], coarsely: bool = False) -> View:
        """The features of a crop. coarsely: without the fine ones, if that is quicker."""
        if coarsely and self._coarse is not None:
            (coarse,) = self._coarse(patch)
            return View(window, patch, coarse, NOT_SEEN)
        coarse, fine = self._features(patch)
        return View(window, patch, coarse, fine)

    def _grid(self, tap: Tap) -> Grid:
        return Grid.over(self.side, tap.stride, tap.receptive_offset_px)
