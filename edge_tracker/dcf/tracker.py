"""The closed-form tracker: two filters find the place, a refiner and a scale filter the box, and a comparison with
frame 1 tells whether it is still the target."""

from __future__ import annotations

import math
from itertools import product
from statistics import NormalDist
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import Backbone
from edge_tracker.boxes import Box, centre, keep_in_frame, rescaled, turned
from edge_tracker.config import DcfConfig
from edge_tracker.dcf.basis import Basis, Projection
from edge_tracker.dcf.box_regression import BoxRegressor
from edge_tracker.dcf.colour import region
from edge_tracker.dcf.correlation import CorrelationFilter
from edge_tracker.dcf.grid import Grid
from edge_tracker.dcf.presence import Evidence, Presence
from edge_tracker.dcf.refinement import COARSE, FINE, SURE, Refiner, View
from edge_tracker.dcf.response import PITCH_PX, Peak, find_peak, height_at, motion_prior, resampling
from edge_tracker.dcf.ridge import RidgeFilter, neighbourhoods
from edge_tracker.dcf.scale import ScaleFilter
from edge_tracker.dcf.search import Search
from edge_tracker.images import size_of
from edge_tracker.roi import Window, affine, crop, is_plain
from edge_tracker.track import Track, TrackState

SMALLEST_SIDE_PX = 8.0  # a target that began larger is not believed to become smaller than this
FIRST_FRAME_WEIGHT, VIEW_WEIGHT = 3.0, 0.5  # of frame 1 as it is, of each changed view of it
VIEW_SHIFT, VIEW_ZOOM, VIEW_BLUR_PX = 0.28, 1.08, 1.5  # of the ROI; factor; every fourth view is blurred
VIEW_TURN, VIEW_STRETCH = 0.6, 0.4  # of the views, standard deviations: radians; of log aspect
REFINED_VIEWS, REGRESSED_VIEWS = 6, 2  # shifted and zoomed views of frame 1 for the refiner, for the box regressor
BOX_VIEW_SHIFT, BOX_VIEW_ZOOM = 0.15, 0.1  # of the sides; of log size
TRUSTED = -0.4, 0.0  # `Correction.match` from which the refiner is wholly followed: in position; in size and aspect
STEADY = 0.8  # confidence under which it is asked in every frame
# Filters that have slid off the target answer beside it: places so many sides away are looked at. Of these, the most
# alike are compared by the refiner, and one is taken that is so likely the target, and so much likelier than the box.
BESIDE, COMPARED = 0.7, 2
LIKELY, LIKELIER = 0.3, 0.15
LARGEST_CORRECTION, LARGEST_REFINEMENT = 0.2, 0.5  # of a side, in one frame: by the box regressor, by the refiner
COLOUR_RATE, COLOUR_EVERY = 0.02, 4  # per frame; frames
# While LOST, `Evidence.colour` of the target is nearly always above this (docs/dcf.md); what has less is believed
# less, but not never: the light may have changed.
OWN_COLOURS, DOUBT = 0.2, 0.65
SEEK_ZOOM = 1.25  # of a box that is looked at in another size while LOST
_NORMAL = NormalDist()
NOTHING = Evidence(0.0, 0.0, 0.0, 0.0)


class Look(NamedTuple):
    """What the backbone sees in one window, and where the target would be in it."""

    window: Window
    patch: NDArray[np.uint8]  # (side, side, 3)
    coarse: NDArray[np.float32]  # (n, n, D)
    fine: NDArray[np.float32] | None  # (m, m, E)
    spectrum: NDArray[np.float32] | None  # of the fine features
    response: NDArray[np.float32]  # (P, P) of the filters
    peak: Peak
    box: Box  # of the size looked for, at the peak, image pixels


class DcfTracker:
    """Tracks one target with a frozen backbone. Images are uint8 (H, W, 3) BGR, boxes pixels (see `boxes`)."""

    def __init__(self, backbone: Backbone, basis: Basis, config: DcfConfig) -> None:
        """backbone: gives a coarse tap and, where `config.fine_weight` is not 0, a fine one behind it."""
        self.backbone, self.config = backbone, config
        self.box: Box = (0.0, 0.0, 1.0, 1.0)
        self.evidence = NOTHING  # of the last look
        self._coarse = basis.projections[0].first(config.channels)
        self._presence_weights = basis.presence[0 if config.fine_weight else 1]
        self._side = backbone.info.input_side
        self._coarse_grid = Grid.of(backbone.info.taps[0], self._side)
        self._fine: Projection | None = None
        self._refiner: Refiner | None = None
        if config.fine_weight:
            self._fine = basis.projections[1].first(config.fine_channels)
            self._fine_grid = Grid.of(backbone.info.taps[1], self._side)
            if basis.refinement is not None and (config.channels, config.fine_channels) == (COARSE, FINE):
                self._refiner = Refiner(basis.refinement, self._coarse_grid, self._fine_grid)
        # A filter sees as far to all sides only from the middle of the coarse grid.
        self._middle_px = self._coarse_grid.offset_px + self._coarse_grid.stride * (self._coarse_grid.cells - 1) / 2

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        """Learn the target from its box in the first image."""
        c = self.config
        random = np.random.default_rng(c.seed)
        self.box, self._frame = box, 0
        self._smallest_px = max(1.0, min(SMALLEST_SIDE_PX, *box[2:]))
        self._height = 1.0  # of the response peak, averaged over a few frames
        self._believed = 1.0  # probability that the box is right, averaged over a few frames
        self._low = 0  # frames in which both were low, less those in which they were not
        self._good = box  # the last box that was believed
        self._search: Search | None = None  # while LOST
        self._trail: Box | None = None  # while LOST: what the tracker followed at last
        self._found: Box | None = None  # while LOST: what looked like the target in the last frame
        window = self._window(box)
        patch = crop(image, window, self._side)
        coarse, fine = self._features(patch)
        on_crop = self._on_crop(box, window)
        self._ridge = RidgeFilter(c.ridge, c.anchor, c.solver_steps)
        samples = [(neighbourhoods(coarse), self._target_map(on_crop), FIRST_FRAME_WEIGHT)]
        for number, chances in enumerate(latin_hypercube(random, c.views, 5)):
            samples.append(self._view(image, box, chances, blurred=number % 4 == 3))
        self._ridge.start(samples)
        if fine is not None:
            middle = self._fine_grid.cell(self._middle_px)
            self._correlation = CorrelationFilter(self._fine_grid.cells, (middle, middle), c.fine_ridge)
            sigma = c.fine_sigma * math.sqrt(on_crop[2] * on_crop[3]) / self._fine_grid.stride
            self._correlation.start(self._correlation.transform(fine), centre(self._fine_grid.box(on_crop)), sigma)
        views = [View(coarse, fine, patch, on_crop)]
        views += [
            self._box_view(image, box, random) for _ in range(REFINED_VIEWS if self._refiner else REGRESSED_VIEWS)
        ]
        self._regressor: BoxRegressor | None = None
        if self._refiner is not None:
            self._refiner.start(views)
        else:
            on_grid = [(view.coarse, self._coarse_grid.box(view.box)) for view in views]
            self._regressor = BoxRegressor(on_grid, c.box_ridge, random)
        self._presence = Presence(coarse, self._coarse_grid.box(on_crop), patch, on_crop, self._presence_weights)
        self._view_of_it = patch, on_crop  # when last believed
        self._scale = ScaleFilter(box[2:], c.scale_levels, c.scale_step, c.scale_area_px, c.anchor)
        self._scale.start(*self._grey(image, box))

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image, and learn from it if it is believed."""
        c = self.config
        self._frame += 1
        if self._search is not None:
            return self._seek(image, self._search)
        look = self._look(image, self.box)
        if look is None:  # a black frame, a covered lens: keep all that is known
            self.evidence = NOTHING
            return Track(self.box, 0.0, TrackState.LOST)
        box, match, factor = look.box, self.evidence.match, None
        if look.peak.height > 0:
            if self._refiner is None or self._frame % c.refine_every == 0 or self._believed < STEADY:
                box, match = self._refine(look)
                if match < c.denied_below and self._believed < c.uncertain_below:
                    look, box, match = self._look_beside(look, box, match)
            if self._frame % c.scale_every == 0:
                factor = min(max(self._scale.estimate(*self._grey(image, box)), 0.5), 2.0)
                box = _scaled(box, factor)
        else:
            match = min(match, 0.0)  # an old answer of the refiner says nothing where the filters find nothing
        self.box = keep_in_frame(box, size_of(image), self._smallest_px)
        self._learn(look, factor)
        probability = self._seen(look, self.box, match)
        if self._believed > c.uncertain_below:
            self._remember(look)
        return self._judge(image, probability, look.peak.height)

    def rescale(self, kx: float, ky: float, image_size: tuple[int, int]) -> None:
        """Go on in images kx times as wide and ky times as high."""
        self.box, self._good = (rescaled(box, kx, ky, image_size) for box in (self.box, self._good))
        if self._search is not None:
            self._found = self._trail = None
            self._search = self._search.rescaled(self._good, self._window(self._good).side, image_size)

    def _remember(self, look: Look) -> None:
        """Keep how the target looks now, for as long as it is believed."""
        c = self.config
        on_crop = self._on_crop(self.box, look.window)
        self._view_of_it = look.patch, on_crop
        if self._frame % COLOUR_EVERY == 0 and look.peak.height > c.gate_high:
            self._presence.colours.learn(look.patch, on_crop, _rate(COLOUR_RATE, COLOUR_EVERY))
        if self.evidence.likeness < c.new_view_below and look.peak.height > c.new_view_height:
            self._presence.remember(look.coarse, self._coarse_grid.box(on_crop))

    def _judge(self, image: NDArray[np.uint8], probability: float, height: float) -> Track:
        """Say how far the present box is to be believed; begin the search where it is believed no more."""
        c = self.config
        self._believed += c.belief_rate * (probability - self._believed)
        self._height += c.belief_rate * (height - self._height)
        # A target that has turned looks unlike frame 1, but the filter, which has turned with it, still answers, or the
        # refiner, which has learned what turns, still knows it where the filter answers a little.
        match = self.evidence.match
        known = match > c.known_above and self._height >= c.lost_height / 2
        answered = self._height >= c.lost_height and match >= c.denied_below
        low = self._believed < c.lost_below and not known and not answered
        self._low = max(0, self._low + (1 if low else -1))
        if self._believed >= c.uncertain_below:
            if probability >= c.uncertain_below:
                self._good = self.box
            return Track(self.box, self._believed, TrackState.TRACKED)
        if self._low < c.lost_after:
            return Track(self.box, self._believed, TrackState.UNCERTAIN)
        # What came last was hardly the target: look where it was last seen too, in the size it had.
        self._trail, self._found = self.box, None
        view = region(*self._view_of_it, 1.0, 1)
        home = self._window(self._good).side
        self._search = Search(self._good, home, size_of(image), view, self._presence.colours.histogram)
        return Track(self.box, self._believed, TrackState.LOST)

    def _seek(self, image: NDArray[np.uint8], search: Search) -> Track:
        """While LOST: look in two places, learn nothing.

        One is what was followed at last, for it may be the target after all, much changed; until something better is
        found the box coasts with it. The other is the search's, and every other frame where the target was last
        believed; once the filter answers no more to what was followed, that place is looked at in every frame. What is
        most like the target is followed, and every other frame looked at in another size. It is the target again once
        it was believed for a while.
        """
        c = self.config
        trailing = self._trail is not None and self._found is None
        probability, found = self._probe(image, (self._trail if trailing else self._found) or self._good)
        if trailing:
            self._trail = found if self.evidence.height >= c.trail_height else None
        if probability > c.lost_below and self._frame % 2:
            place = _scaled(found, SEEK_ZOOM if self._frame % 4 == 1 else 1 / SEEK_ZOOM)
        elif trailing and self._frame % 2:
            place = self._good
        else:
            place = search.next(image)
        elsewhere, other = self._probe(image, place)
        if elsewhere > max(probability, c.lost_below):
            probability, found = elsewhere, other
        self._believed += c.belief_rate * (probability - self._believed)
        self._found = found if probability > c.lost_below else None
        self.box = self._found or self._trail or self._good
        if self._found is None or self._believed < c.found_above:
            return Track(self.box, self._believed, TrackState.LOST)
        self._good, self._height, self._low, self._search, self._found = self.box, 1.0, 0, None, None
        return Track(self.box, self._believed, TrackState.TRACKED)

    def _probe(self, image: NDArray[np.uint8], place: Box) -> tuple[float, Box]:
        """Look for the target around `place`: the probability that it is there, and its box."""
        look = self._look(image, place)
        if look is None:
            self.evidence = NOTHING
            return 0.0, place
        box, match = self._refine(look)
        box = keep_in_frame(box, size_of(image), self._smallest_px)
        probability = self._seen(look, box, match)
        return (probability if self.evidence.colour >= OWN_COLOURS else DOUBT * probability), box

    def _seen(self, look: Look, box: Box, match: float) -> float:
        """Probability that `box` is the target, `match` being what the refiner says."""
        on_crop = self._on_crop(box, look.window)
        on_grid = self._coarse_grid.box(on_crop)
        self.evidence = self._presence.evidence(look.peak.height, match, look.coarse, on_grid, look.patch, on_crop)
        return self._presence.probability(self.evidence)

    def _look(self, image: NDArray[np.uint8], box: Box) -> Look | None:
        """Search the window around `box` for the target; None where the window shows nothing at all."""
        c = self.config
        window = self._window(box)
        patch = crop(image, window, self._side)
        if is_plain(patch):
            return None
        coarse, fine = self._features(patch)
        spectrum = self._correlation.transform(fine) if fine is not None else None
        response = self._respond(coarse, spectrum)
        prior = motion_prior(len(response), self._middle_px, c.motion_sigma * self._side)
        peak = find_peak(response, prior)
        k = window.side / self._side
        x, y = window.x + peak.x_px * k - box[2] / 2, window.y + peak.y_px * k - box[3] / 2
        return Look(window, patch, coarse, fine, spectrum, response, peak, (x, y, box[2], box[3]))

    def _respond(self, coarse: NDArray[np.float32], spectrum: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The filters' answers on one grid of PITCH_PX: (P, P)."""
        points = self._side // PITCH_PX
        up = resampling(self._coarse_grid, points)
        wide = np.asarray(up @ self._ridge.respond(coarse) @ up.T, np.float32)
        if spectrum is None:
            return wide
        up = resampling(self._fine_grid, points)
        narrow = np.asarray(up @ self._correlation.respond(spectrum) @ up.T, np.float32)
        return wide + np.float32(self.config.fine_weight) * narrow

    def _refine(self, look: Look) -> tuple[Box, float]:
        """Move and scale the box found part of the way that the refiner says, or the regressor where there is none; and
        how far the refiner says that it lies on the target."""
        c, on_crop = self.config, self._on_crop(look.box, look.window)
        if self._refiner is not None:
            errors, match = self._refiner.predict(View(look.coarse, look.fine, look.patch, on_crop))
            place, shape = (min(1.0, 2 / (1 + math.exp(-SURE * (match - even)))) for even in TRUSTED)
            errors = errors * np.array([place, place, shape, shape], np.float32)
            return _corrected(look.box, errors, LARGEST_REFINEMENT, c.refine_gain), match
        assert self._regressor is not None
        errors = self._regressor.predict(look.coarse, self._coarse_grid.box(on_crop))
        return _corrected(look.box, errors, LARGEST_CORRECTION, c.box_gain), 0.0

    def _look_beside(self, look: Look, box: Box, match: float) -> tuple[Look, Box, float]:
        """The look, its refined box and what the refiner says of it; or those of a place beside it that is more likely
        the target."""
        x, y, w, h = look.box
        steps = [(dx, dy) for dx, dy in product((-BESIDE, 0.0, BESIDE), repeat=2) if dx or dy]
        places = [(x + dx * w, y + dy * h, w, h) for dx, dy in steps]
        on_crop = [self._on_crop(place, look.window) for place in places]
        alike = self._presence.likeness(look.coarse, [self._coarse_grid.box(b) for b in on_crop])
        least = max(LIKELY, self._seen(look, box, match) + LIKELIER)
        best = look, box, match
        for k in np.argsort(-alike)[:COMPARED].tolist():
            height = height_at(look.response, *centre(on_crop[k]))
            beside = look._replace(box=places[k], peak=look.peak._replace(height=height))
            refined, said = self._refine(beside)
            probability = self._seen(beside, refined, said)
            if probability > least:
                least, best = probability, (beside, refined, said)
        return best

    def _learn(self, look: Look, factor: float | None) -> None:
        """Learn the present box, the less the lower the peak.

        factor: by which it was scaled; None where that was not estimated.
        """
        c = self.config
        gate = min(max((look.peak.height - c.gate_low) / (c.gate_high - c.gate_low), 0.0), 1.0)
        if gate == 0:
            return
        on_crop = self._on_crop(self.box, look.window)
        if self._frame % c.learn_every == 0:
            rate = _rate(c.rate * gate, c.learn_every)
            self._ridge.learn(neighbourhoods(look.coarse), self._target_map(on_crop), rate)
        if look.spectrum is not None and (self._frame + 1) % c.fine_learn_every == 0:  # not all in the same frame
            rate = _rate(c.fine_rate * gate, c.fine_learn_every)
            self._correlation.learn(look.spectrum, centre(self._fine_grid.box(on_crop)), rate)
        if self._regressor is not None and self._frame % c.box_learn_every == 0:
            self._regressor.learn(look.coarse, self._coarse_grid.box(on_crop))
        if factor is not None:
            self._scale.learn(factor, _rate(c.scale_rate * gate, c.scale_every))

    def _window(self, box: Box, scale: float = 1.0) -> Window:
        """The ROI, in which `box` comes to lie in the middle of the coarse grid."""
        cx, cy = centre(box)
        side = max(8, round(scale * self.config.roi_scale * math.sqrt(box[2] * box[3])))
        middle = self._middle_px * side / self._side
        return Window(round(cx - middle), round(cy - middle), side)

    def _features(self, patch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Coarse (n, n, D) and, if wanted, fine (m, m, E) features of a crop."""
        taps = self.backbone(patch)
        return self._coarse(taps[0]), self._fine(taps[1]) if self._fine is not None else None

    def _on_crop(self, box: Box, window: Window) -> Box:
        """Image box -> crop pixels."""
        k = self._side / window.side
        x, y, w, h = box
        return (x - window.x) * k, (y - window.y) * k, w * k, h * k

    def _target_map(self, on_crop: Box) -> NDArray[np.float32]:
        """A Gaussian at the target on the coarse grid: (n n,)."""
        x, y, w, h = self._coarse_grid.box(on_crop)
        cells = np.arange(self._coarse_grid.cells)
        lines = []
        for middle, side in ((y + h / 2, h), (x + w / 2, w)):
            lines.append(np.exp(-0.5 * ((cells - middle) / max(0.6, self.config.target_sigma * side)) ** 2))
        return np.outer(*lines).astype(np.float32).ravel()

    def _view(
        self, image: NDArray[np.uint8], box: Box, chances: NDArray[np.float64], blurred: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """A view of frame 1 as a sample for the ridge filter, by `chances` (5,) from 0 to 1 shifted, zoomed, turned and
        stretched: a target that turns over or bends later is then not wholly new."""
        base = self._window(box, VIEW_ZOOM ** (2 * chances[2] - 1))
        dx, dy = (VIEW_SHIFT * base.side * (2 * chances[:2] - 1)).round().astype(int).tolist()
        window = Window(base.x + dx, base.y + dy, base.side)
        turn, stretch = VIEW_TURN * _NORMAL.inv_cdf(chances[3]), VIEW_STRETCH * _NORMAL.inv_cdf(chances[4])
        on_crop = self._on_crop(box, window)
        middle = np.array(centre(on_crop)) - 0.5  # OpenCV counts from the middle of the first pixel
        to_view = affine(turn, 1.0, stretch, middle, middle)
        patch = crop(image, window, self._side)
        size = (self._side, self._side)
        patch = np.asarray(cv2.warpAffine(patch, to_view, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        if blurred:
            patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), VIEW_BLUR_PX), np.uint8)
        coarse, _ = self._features(patch)
        return neighbourhoods(coarse), self._target_map(turned(on_crop, turn, stretch)), VIEW_WEIGHT

    def _box_view(self, image: NDArray[np.uint8], box: Box, random: np.random.Generator) -> View:
        """A slightly shifted and zoomed view of frame 1, for what corrects boxes."""
        x, y, w, h = box
        dx, dy, zoom = (random.normal(size=3) * (BOX_VIEW_SHIFT, BOX_VIEW_SHIFT, BOX_VIEW_ZOOM)).tolist()
        window = self._window((x + dx * w, y + dy * h, w, h), math.exp(zoom))
        patch = crop(image, window, self._side)
        return View(*self._features(patch), patch, self._on_crop(box, window))

    def _grey(self, image: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.uint8], Box]:
        """The surroundings of `box` in grey, and `box` in them: the scale filter reads no more."""
        x, y, w, h = box
        reach = max(w, h)
        width, height = size_of(image)
        left, top = max(0, min(int(x - reach), width - 8)), max(0, min(int(y - reach), height - 8))
        right, bottom = max(left + 8, int(x + w + reach) + 1), max(top + 8, int(y + h + reach) + 1)
        grey = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2GRAY)
        return np.asarray(grey, np.uint8), (x - left, y - top, w, h)


def _corrected(box: Box, errors: NDArray[np.float32], largest: float, gain: tuple[float, float, float]) -> Box:
    """Move and scale `box` by a share of (dx / w, dy / h, dlog w, dlog h): of position, size, aspect."""
    dx, dy, lw, lh = np.clip(errors, -largest, largest).tolist()
    position, size, aspect = gain
    cx, cy = centre(box)
    _, _, w, h = box
    cx, cy = cx + position * dx * w, cy + position * dy * h
    grow, stretch = size * (lw + lh) / 2, aspect * (lw - lh) / 2
    w, h = w * math.exp(grow + stretch), h * math.exp(grow - stretch)
    return cx - w / 2, cy - h / 2, w, h


def _scaled(box: Box, factor: float) -> Box:
    """The same centre, both sides times `factor`."""
    cx, cy = centre(box)
    w, h = box[2] * factor, box[3] * factor
    return cx - w / 2, cy - h / 2, w, h


def latin_hypercube(random: np.random.Generator, count: int, dimensions: int) -> NDArray[np.float64]:
    """Random points (count, dimensions) between 0 and 1; in each dimension one lies in each of `count` equal parts, so
    that few of them cover all there is whatever the seed (McKay et al. 1979)."""
    parts = np.stack([random.permutation(count) for _ in range(dimensions)], axis=1)
    points: NDArray[np.float64] = (parts + random.uniform(0.01, 0.99, parts.shape)) / max(1, count)
    return points


def _rate(rate: float, frames: int) -> float:
    """The learning rate that does in one frame what `rate` would do in so many."""
    return 1 - (1 - rate) ** frames
