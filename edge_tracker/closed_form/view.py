"""What the tracker sees in one window of the image. Inside an update all boxes are in crop pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.roi import Window


class View(NamedTuple):
    """What is seen in one window."""

    window: Window  # image pixels
    patch: NDArray[np.uint8]  # (side, side, 3) BGR, the crop
    coarse: NDArray[np.float32]  # (n, n, D)
    fine: NDArray[np.float32]  # (m, m, E); empty where it was not asked for

    def on_crop(self, box: Box) -> Box:
        """Image pixels -> crop pixels."""
        k = len(self.patch) / self.window.side
        x, y, w, h = box
        return (x - self.window.x) * k, (y - self.window.y) * k, w * k, h * k

    def on_image(self, box: Box) -> Box:
        """Crop pixels -> image pixels."""
        k = self.window.side / len(self.patch)
        x, y, w, h = box
        return self.window.x + x * k, self.window.y + y * k, w * k, h * k
