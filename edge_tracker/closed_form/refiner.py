"""Box refinement: a small network, trained offline, tells by comparison with frame 1 where the target's box ends.

The samples in and around the box are matched with those of frame 1 by attention (as in space-time memory networks, Oh
et al. 2019): what lay inside the target's box there, and where, is read from the matches, and two convolutions make a
correction of the box of it (what is asked of them is that of Alpha-Refine, Yan et al. 2021). The same network judges
whether the target is under the box at all. Trained by scripts/train_refiner.py.

A target that turns in the picture soon resembles frame 1 no more. So frame 1 is known turned too, in equal parts of a
whole turn: where the target no longer looks as it did, the turn whose samples resemble it most is compared too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, moved_by
from edge_tracker.closed_form.config import Gain
from edge_tracker.closed_form.refinement_graph import Looked, comparison
from edge_tracker.closed_form.refinement_network import (
    BINS,
    COLOUR_PX,
    COLOUR_SPLIT,
    CONTEXT,
    INNER,
    MASKS,
    SURE,
    Reference,
    RefinementNetwork,
)
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid
from edge_tracker.roi import sample_box

TRUSTED = -0.4, 0.0  # `Correction.match` from which a correction is wholly followed: in position; in size and aspect
TURNED_BELOW, TURNED_BETTER = 0.8, 0.1  # match below which another turn is compared; by which it must be better
INSIDE = np.flatnonzero(MASKS[:, 0] > 0.5)  # numbers of the samples in the box itself
LARGEST = 0.5  # correction in one frame, of a side or of its logarithm
# Share of what is said of the right box in frame 1 that is said of it in later frames too, and so is no error.
PERSISTING = 0.5

Errors = tuple[float, float, float, float]  # dx / w, dy / h, dlog w, dlog h


class Correction(NamedTuple):
    """What the network says of a box."""

    errors: Errors  # that bring it onto the target
    match: float  # log odds that it lies on the target, in units of SURE: [-1, 1]
    scales: Errors  # how far off the errors are likely to be (scale of a Laplace distribution)
    turn: int  # number of the view of frame 1 that was compared


class Corrected(NamedTuple):
    """A box after correction."""

    box: Box
    match: float  # `Correction.match` of the box before
    turn: int  # `Correction.turn`


class Refiner:
    """Refines the boxes of one target."""

    def __init__(self, network: RefinementNetwork, coarse: Grid, fine: Grid, trust: Gain) -> None:
        """trust: error at which half of a correction is applied, of position, size, aspect."""
        self._network, self._coarse, self._fine, self._trust = network, coarse, fine, trust
        self._comparison = comparison(network)
        self._references: list[Reference] = []
        self._inside = np.zeros((0, 0), np.float32)  # keys of the samples in the box, of all references side by side
        self._bias: Errors = (0.0, 0.0, 0.0, 0.0)
        self._patch: NDArray[np.uint8] | None = None  # the crop whose colours were computed last
        self._colours = np.zeros((0, 0, 3), np.float32)

    def start(self, views: Sequence[tuple[View, Box]], turned: Sequence[tuple[View, Box]] = ()) -> None:
        """Know the target by its box (crop pixels) in the first view. What is said of the right boxes of the other
        views, if any, is in part what this network always says of this target: that part is taken off from then on.
        turned: the first view turned by one part of a whole turn, by two parts, and so on."""
        self._know([self._reference(*views[0])])
        self._bias = (0.0, 0.0, 0.0, 0.0)
        if len(views) > 1:
            said = np.mean([self.predict(view, box).errors for view, box in views[1:]], axis=0)
            dx, dy, lw, lh = (PERSISTING * said).tolist()
            self._bias = dx, dy, lw, lh
        self._know([*self._references, *(self._reference(view, box) for view, box in turned)])

    def _know(self, references: list[Reference]) -> None:
        self._references = references
        self._inside = np.concatenate([reference.keys[:, INSIDE] for reference in references], axis=1)

    def predict(self, view: View, box: Box, turn: int = 0, least: float = -1.0) -> Correction:
        """How to bring `box` (crop pixels) onto the target. turn: `Correction.turn` of the last frame. least: match
        below which no other turn is compared, for it is hopeless."""
        looked = self._comparison.look(self._samples(view, box))
        best = self._compared(looked, turn)
        if least <= best.match < TURNED_BELOW and len(self._references) > 1:
            found = self._compared(looked, self._resembling(looked, turn))
            if found.match > best.match + TURNED_BETTER:
                return found
        return best

    def _resembling(self, looked: Looked, turn: int) -> int:
        """The turn that the samples in the box resemble most, this one left out."""
        likeness = looked.keys[INSIDE] @ self._inside
        best = likeness.reshape(len(INSIDE), len(self._references), -1).max(axis=2).mean(axis=0)
        best[turn] = -np.inf
        return int(best.argmax())

    def correct(self, view: View, box: Box, turn: int = 0, least: float = -1.0) -> Corrected:
        """Move and resize `box` (crop pixels) a share of the way to where the target's box is said to be. turn and
        least as in `predict`."""
        errors, match, scales, turn = self.predict(view, box, turn, least)
        place, shape = (min(1.0, 2 / (1 + math.exp(-SURE * (match - even)))) for even in TRUSTED)
        trusted = zip(errors, (place, place, shape, shape), strict=True)
        dx, dy, lw, lh = (min(max(share * error, -LARGEST), LARGEST) for error, share in trusted)
        position, size, aspect = _shares(scales, self._trust)
        grow, stretch = size * (lw + lh) / 2, aspect * (lw - lh) / 2
        return Corrected(moved_by(box, (position * dx, position * dy, grow + stretch, grow - stretch)), match, turn)

    def identify(self, view: View, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """What is under each box (crop pixels) as a unit vector: (m, IDENTITY), to be compared by dot product."""
        return self._network.identity(np.concatenate([self._samples(view, box, INNER, 1.0) for box in boxes]))

    def _reference(self, view: View, box: Box) -> Reference:
        return self._network.reference(self._samples(view, box))

    def _compared(self, looked: Looked, turn: int) -> Correction:
        dx, dy, lw, lh, odds, *scales = self._comparison.judge(looked, self._references[turn]).tolist()
        x, y, w, h = self._bias
        sx, sy, sw, sh = map(math.exp, scales)
        return Correction((dx - x, dy - y, lw - w, lh - h), min(max(odds / SURE, -1.0), 1.0), (sx, sy, sw, sh), turn)

    def _samples(self, view: View, box: Box, bins: int = BINS, context: float = CONTEXT) -> NDArray[np.float32]:
        """(bins bins, channels)."""
        if self._patch is not view.patch:  # several boxes of a view are sampled, one after the other
            self._patch, self._colours = view.patch, colours(view.patch)
        maps = (view.fine, self._fine), (view.coarse, self._coarse)
        parts = [sample_box(values, grid.box(box), bins, context).reshape(bins * bins, -1) for values, grid in maps]
        dense = sample_box(self._colours, colour_grid(len(view.patch)).box(box), bins * COLOUR_SPLIT, context)
        parts.append(dense.reshape(bins, COLOUR_SPLIT, bins, -1).swapaxes(1, 2).reshape(bins * bins, -1))
        return np.concatenate(parts, axis=1)


def _shares(scales: Errors, trust: Gain) -> Gain:
    """Shares of a correction (position, size, aspect) that are applied: as a Kalman filter would where what is true
    changes by `trust` in a frame, and what is said of it is off by `scales`."""
    dx, dy, lw, lh = scales
    shape = math.hypot(lw, lh)
    place, size, aspect = (t * t / (t * t + s * s) for t, s in zip(trust, (max(dx, dy), shape / 2, shape), strict=True))
    return place, size, aspect


def colours(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colours of a crop's cells, from -2 to 2: (side / COLOUR_PX, side / COLOUR_PX, 3)."""
    small = patch
    for side in (len(patch) // 2, len(patch) // COLOUR_PX):  # halving twice is quicker than once by four
        small = np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    means: NDArray[np.float32] = small * np.float32(4 / 255)
    means -= np.float32(2)
    return means


def colour_grid(side: int) -> Grid:
    """How `colours` lie over a crop of this side."""
    return Grid(side // COLOUR_PX, COLOUR_PX, (COLOUR_PX - 1) / 2)
