"""How large the target is: the box corrected by the refiner or a regressor, its size followed by the scale filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, moved_by
from edge_tracker.closed_form.box_regression import BoxRegressor
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head
from edge_tracker.closed_form.likeness import Describe
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.place import over_frames
from edge_tracker.closed_form.refinement_network import COARSE, FINE, SURE
from edge_tracker.closed_form.refiner import Refiner
from edge_tracker.closed_form.scale import ScaleFilter
from edge_tracker.closed_form.view import View
from edge_tracker.images import size_of

REFINED_VIEWS, REGRESSED_VIEWS = 6, 2  # views of frame 1 for the refiner, for the regressor
TRUSTED = -0.4, 0.0  # `Correction.match` from which the refiner is wholly followed: in position; in size and aspect
LARGEST_CORRECTION, LARGEST_REFINEMENT = 0.2, 0.5  # of a side, in one frame: by the regressor, by the refiner
LARGEST_FACTOR = 2.0  # of the size, in one frame
GROWING = 0.02  # log factor from which the size is measured in the next frame too
LARGEST_GREY_PX = 128  # shorter side of a box of which the scale filter sees every pixel


class Corrected(NamedTuple):
    """A box after correction."""

    box: Box
    match: float  # what the refiner says of the box before: it lies on the target (1), it does not (-1); 0 without one


class Extent:
    """All that corrects the box of one target."""

    def __init__(self, optics: Optics, head: Head, config: ClosedFormConfig, random: np.random.Generator) -> None:
        self._config, self._random = config, random
        self._grid = optics.coarse_grid
        self._refiner: Refiner | None = None
        self._regressor: BoxRegressor | None = None
        fine = config.fine
        if (
            fine is not None
            and head.refinement is not None
            and (config.place.channels, fine.channels) == (COARSE, FINE)
        ):
            assert optics.fine_grid is not None
            self._refiner = Refiner(head.refinement, optics.coarse_grid, optics.fine_grid)
        self._scale: ScaleFilter | None = None
        self._measured, self._span, self._grows = 0, 1, False  # when last; frames that it speaks for; whether it grows

    @property
    def describe(self) -> Describe | None:
        """The refinement network's description of boxes, where there is one that was trained for it."""
        return self._refiner.identify if self._refiner is not None and self._refiner.identifies else None

    @property
    def views(self) -> int:
        """How many slightly shifted views of frame 1 are wanted."""
        return REFINED_VIEWS if self._refiner is not None else REGRESSED_VIEWS

    def refines_in(self, frame: int, steady: bool) -> bool:
        """Whether the box is corrected in this frame: always, or the refiner every so often while all is well."""
        return self._refiner is None or not steady or frame % self._config.box.refine_every == 0

    def compares_in(self, frame: int, steady: bool) -> bool:
        """Whether the box is compared with known looks of the target in this frame: while all is well, when the
        refiner rests, so that each frame has news of one of the two."""
        every = self._config.box.refine_every
        return self._refiner is None or not steady or every == 1 or frame % every != 0

    def start(self, views: Sequence[tuple[View, Box]], image: NDArray[np.uint8], box: Box) -> None:
        """Learn frame 1 from views with the target's box in crop pixels, the first unchanged; `box` in image pixels."""
        if self._refiner is not None:
            self._refiner.start(views)
        else:
            on_grid = [(view.coarse, self._grid.box(on_crop)) for view, on_crop in views]
            self._regressor = BoxRegressor(on_grid, self._config.box.regressor_ridge, self._random)
        scale = self._config.scale
        self._scale = ScaleFilter(box[2:], scale.levels, scale.step, scale.area_px, self._config.place.anchor)
        self._scale.start(*_grey(image, box))

    def correct(self, view: View, box: Box) -> Corrected:
        """Move and resize `box` (crop pixels) a share of the way to where the target's box is said to be."""
        gains = self._config.box
        if self._refiner is not None:
            errors, match, scales = self._refiner.predict(view, box)
            place, shape = (min(1.0, 2 / (1 + math.exp(-SURE * (match - even)))) for even in TRUSTED)
            errors = errors * np.array([place, place, shape, shape], np.float32)
            return Corrected(_corrected(box, errors, LARGEST_REFINEMENT, _gain(scales, gains.refiner_trust)), match)
        assert self._regressor is not None
        errors = self._regressor.predict(view.coarse, self._grid.box(box))
        return Corrected(_corrected(box, errors, LARGEST_CORRECTION, gains.regressor_gain), 0.0)

    def growth(self, image: NDArray[np.uint8], box: Box, frame: int) -> float | None:
        """The factor by which the target in `box` (image pixels) has grown; None in frames in which it is not asked:
        every so often, and in every frame while the size changes."""
        settings = self._config.scale
        if (frame + 1) % settings.every and not self._grows:  # not in the frames in which the refiner is asked
            return None
        assert self._scale is not None
        self._span, self._measured = min(max(frame - self._measured, 1), settings.every), frame
        # The estimate is about half of the change, which over several frames is too cautious.
        factor = self._scale.estimate(*_grey(image, box)) ** (settings.gain if self._span > 1 else 1.0)
        self._grows = abs(math.log(factor)) > GROWING
        return min(max(factor, 1 / LARGEST_FACTOR), LARGEST_FACTOR)

    def learn(self, view: View, box: Box, factor: float | None, gate: float, frame: int) -> None:
        """Learn that `box` (crop pixels), grown by `factor`, is right, at a share `gate` of the rates."""
        if self._regressor is not None and frame % self._config.box.regressor_learn_every == 0:
            self._regressor.learn(view.coarse, self._grid.box(box))
        if factor is not None and self._scale is not None:
            self._scale.learn(factor, over_frames(self._config.scale.rate * gate, self._span))


def _gain(scales: NDArray[np.float32], trust: tuple[float, float, float]) -> tuple[float, float, float]:
    """Shares of a correction (position, size, aspect) that are applied: as a Kalman filter would where what is true
    changes by `trust` in a frame, and what is said of it is off by `scales` (4,)."""
    dx, dy, lw, lh = scales.tolist()
    shape = math.hypot(lw, lh)
    place, size, aspect = (t * t / (t * t + s * s) for t, s in zip(trust, (max(dx, dy), shape / 2, shape), strict=True))
    return place, size, aspect


def _corrected(box: Box, errors: NDArray[np.float32], largest: float, gain: tuple[float, float, float]) -> Box:
    """Move and scale `box` by a share of (dx / w, dy / h, dlog w, dlog h): of position, size, aspect."""
    dx, dy, lw, lh = np.clip(errors, -largest, largest).tolist()
    position, size, aspect = gain
    grow, stretch = size * (lw + lh) / 2, aspect * (lw - lh) / 2
    return moved_by(box, (position * dx, position * dy, grow + stretch, grow - stretch))


def _grey(image: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.uint8], Box]:
    """The surroundings of `box` in grey, and `box` in them: the scale filter reads no more. Of a large target every
    so-many-th pixel is enough, for the filter samples few."""
    x, y, w, h = box
    reach = max(w, h)
    width, height = size_of(image)
    left, top = max(0, min(int(x - reach), width - 8)), max(0, min(int(y - reach), height - 8))
    right, bottom = max(left + 8, int(x + w + reach) + 1), max(top + 8, int(y + h + reach) + 1)
    part = image[top:bottom, left:right]
    x, y = x - left, y - top
    step = min(w, h) / LARGEST_GREY_PX
    if step >= 2:
        size = max(1, round(part.shape[1] / step)), max(1, round(part.shape[0] / step))
        kx, ky = size[0] / part.shape[1], size[1] / part.shape[0]
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        x, y, w, h = x * kx, y * ky, w * kx, h * ky
    return np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), np.uint8), (x, y, w, h)
