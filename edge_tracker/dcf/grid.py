"""How the cells of a tap lie over the crop, for a head that learns where its features look."""

from __future__ import annotations

from typing import NamedTuple

from edge_tracker.backbones.base import Tap
from edge_tracker.boxes import Box


class Grid(NamedTuple):
    """Cell i is centred on crop pixel stride * i + offset."""

    cells: int  # along each side
    stride: int  # crop pixels
    offset_px: float

    @classmethod
    def of(cls, tap: Tap, input_side: int) -> Grid:
        return cls(input_side // tap.stride, tap.stride, tap.stride / 2 + tap.receptive_offset_px)

    def cell(self, px: float) -> float:
        """Crop pixel -> cell, the centre of cell i being i."""
        return (px - self.offset_px) / self.stride

    def box(self, on_crop: Box) -> Box:
        """Box in crop pixels -> in cells."""
        x, y, w, h = on_crop
        return self.cell(x), self.cell(y), w / self.stride, h / self.stride
