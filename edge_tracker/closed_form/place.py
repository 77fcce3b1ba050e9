"""Where the target is: the response of a ridge filter on the coarse tap, and its peak."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.motion import Expected
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.response_map import PITCH_PX, Peak, find_peak, motion_prior, resampling
from edge_tracker.closed_form.ridge import RidgeFilter, laid, neighbourhoods
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid

FIRST_FRAME_WEIGHT, VIEW_WEIGHT = 3.0, 0.5  # of frame 1 as it is, of each changed view of it


class Found(NamedTuple):
    """Where the filter finds the target in a view."""

    response: NDArray[np.float32]  # (P, P), points PITCH_PX crop pixels apart
    peak: Peak

    def box(self, size: tuple[float, float]) -> Box:
        """A box of this size (w, h) at the peak, crop pixels."""
        return self.peak.box(size)


class Place:
    """The filter of one target."""

    def __init__(self, optics: Optics, config: ClosedFormConfig) -> None:
        self._optics, self._config = optics, config
        settings = config.place
        self._ridge = RidgeFilter(settings.ridge, settings.anchor, settings.solver_steps)
        self._points = optics.side // PITCH_PX
        self._up = laid(resampling(optics.coarse_grid, self._points))

    def start(self, view: View, box: Box, changed: Iterable[tuple[View, Box]]) -> None:
        """Learn frame 1: a view of it with the target's box, and changed ones with theirs; boxes in crop pixels."""
        samples = [(neighbourhoods(view.coarse), self._target_map(box), FIRST_FRAME_WEIGHT)]
        samples += [(neighbourhoods(other.coarse), self._target_map(b), VIEW_WEIGHT) for other, b in changed]
        self._ridge.start(samples)

    def find(self, view: View, expected: Expected | None = None) -> Found:
        """The response over the view, and its peak under the motion prior. expected: None where all is possible."""
        response = self._ridge.respond(view.coarse, self._up)
        x = y = self._optics.middle_px
        sigma = self._config.place.motion_sigma * self._optics.side
        if expected is not None:
            k = self._optics.side / view.window.side
            x, y, sigma = x + k * expected.dx, y + k * expected.dy, min(sigma, k * expected.sigma)
        return Found(response, find_peak(response, motion_prior(self._points, x, y, sigma)))

    def gate(self, height: float) -> float:
        """Share of the learning rates that a peak of this height allows: [0, 1]."""
        low, high = self._config.place.gate_low, self._config.place.gate_high
        return min(max((height - low) / (high - low), 0.0), 1.0)

    def learn(self, view: View, box: Box, gate: float, frame: int) -> None:
        """Learn that the target lies in `box` (crop pixels), at a share `gate` of the rate, where it is the turn of
        this frame."""
        settings = self._config.place
        if frame % settings.learn_every == 1 % settings.learn_every:
            self._ridge.solve()  # what was learned last, a frame later: the work is spread
        if frame % settings.learn_every == 0:
            rate = over_frames(settings.rate * gate, settings.learn_every)
            self._ridge.learn(neighbourhoods(view.coarse), self._target_map(box), rate)

    def _target_map(self, box: Box) -> NDArray[np.float32]:
        return target_map(self._optics.coarse_grid, box, self._config.place.target_sigma)


def target_map(grid: Grid, box: Box, sigma: float) -> NDArray[np.float32]:
    """What a filter shall answer: a Gaussian at the target, (n n,). grid: the coarse one. box: crop pixels. sigma: its
    width, of the box's sides."""
    x, y, w, h = grid.box(box)
    cells = np.arange(grid.cells)
    lines = []
    for middle, side in ((y + h / 2, h), (x + w / 2, w)):
        width = max(0.6, sigma * side)
        lines.append(np.exp(-0.5 * ((cells - middle) / width) ** 2))
    return np.outer(*lines).astype(np.float32).ravel()


def over_frames(rate: float, frames: int) -> float:
    """The learning rate that does in one frame what `rate` would do in so many."""
    return 1 - (1 - rate) ** frames
