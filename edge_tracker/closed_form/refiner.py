"""Box refinement: a small network, trained offline, tells by comparison with frame 1 where the target's box ends.

The samples in and around the box are matched with those of frame 1 by attention (as in space-time memory networks, Oh
et al. 2019): what lay inside the target's box there, and where, is read from the matches, and two convolutions make a
correction of the box of it (what is asked of them is that of Alpha-Refine, Yan et al. 2021). The same network judges
whether the target is under the box at all. Trained by scripts/train_refiner.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.closed_form.refinement_graph import comparing
from edge_tracker.closed_form.refinement_network import (
    BINS,
    COLOUR_PX,
    CONTEXT,
    INNER,
    KEY,
    SURE,
    VALUE,
    RefinementNetwork,
)
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid
from edge_tracker.roi import sample_at, sample_places


class Correction(NamedTuple):
    """What the network says of a box."""

    errors: NDArray[np.float32]  # (dx / w, dy / h, dlog w, dlog h) that bring it onto the target
    match: float  # log odds that it lies on the target, in units of SURE: [-1, 1]
    scales: NDArray[np.float32]  # (4,) how far off the errors are likely to be (scale of a Laplace distribution)


class Refiner:
    """Refines the boxes of one target."""

    def __init__(self, network: RefinementNetwork, coarse: Grid, fine: Grid) -> None:
        self._network, self._coarse, self._fine = network, coarse, fine
        self._compare = comparing(network)
        self._keys = np.zeros((KEY, BINS * BINS), np.float32)
        self._values = np.zeros((BINS * BINS, VALUE + 1), np.float32)
        self._bias = np.zeros(4, np.float32)
        self._patch: NDArray[np.uint8] | None = None  # the crop whose colours were computed last
        self._colours = np.zeros((0, 0, 3), np.float32)

    @property
    def identifies(self) -> bool:
        """Whether `identify` says anything."""
        return self._network.identifies

    def start(self, views: Sequence[tuple[View, Box]]) -> None:
        """Know the target by its box (crop pixels) in the first view. What is said of the right boxes of the other
        views, if any, is what this network always says of this target: it is taken off from then on."""
        embedded = self._network.embed(self._samples(views[0][0], [views[0][1]])[0])
        self._keys = np.ascontiguousarray(self._network.keys(embedded).T)
        self._values = self._network.values(embedded)
        self._bias[:] = 0
        if len(views) > 1:
            self._bias = np.mean([self.predict(view, box).errors for view, box in views[1:]], axis=0)

    def predict(self, view: View, box: Box) -> Correction:
        """How to bring `box` (crop pixels) onto the target."""
        said = self._compare(self._samples(view, [box])[0], self._keys, self._values)
        return Correction(said[:4] - self._bias, min(max(float(said[4]) / SURE, -1.0), 1.0), np.exp(said[5:]))

    def identify(self, view: View, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """What is under each box (crop pixels) as a unit vector: (m, IDENTITY), to be compared by dot product."""
        samples = self._samples(view, boxes, INNER, 1.0)
        embedded = self._network.embed(samples.reshape(-1, samples.shape[-1]))
        return self._network.identity(embedded.reshape(len(boxes), INNER * INNER, -1))

    def _samples(
        self, view: View, boxes: Sequence[Box], bins: int = BINS, context: float = CONTEXT
    ) -> NDArray[np.float32]:
        """(m, bins bins, channels)."""
        if view.fine is None:
            raise ValueError("a view without fine features cannot be refined")
        if self._patch is not view.patch:  # several boxes of a view are sampled, one after the other
            self._patch, self._colours = view.patch, colours(view.patch)
        places = np.stack(sample_places(np.array(boxes), bins, context))  # (2, m bins, bins), crop pixels
        maps = (view.fine, self._fine), (view.coarse, self._coarse), (self._colours, colour_grid(len(view.patch)))
        parts = [
            sample_at(values, *(places - np.float32(grid.offset_px)) / np.float32(grid.stride)) for values, grid in maps
        ]
        return np.concatenate(parts, axis=-1).reshape(len(boxes), bins * bins, -1)


def colours(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colours of a crop's cells, from -2 to 2: (side / COLOUR_PX, side / COLOUR_PX, 3)."""
    cells = len(patch) // COLOUR_PX
    means = cv2.resize(patch, (cells, cells), interpolation=cv2.INTER_AREA).astype(np.float32)
    means *= np.float32(4 / 255)
    means -= np.float32(2)
    return means


def colour_grid(side: int) -> Grid:
    """How `colours` lie over a crop of this side."""
    return Grid(side // COLOUR_PX, COLOUR_PX, (COLOUR_PX - 1) / 2)
