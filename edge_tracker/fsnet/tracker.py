"""FSNet as a recipe: candidates around the last place are pooled from the maps chosen in frame 1 and judged by a
classifier that is fine-tuned when it grows unsure (III-E); while LOST, look elsewhere."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre, iou, keep_in_frame, moved, rescaled
from edge_tracker.closed_form.belief import Belief
from edge_tracker.closed_form.camera import LEAST_JERK, Camera
from edge_tracker.closed_form.colour import Colours
from edge_tracker.closed_form.redetection import Redetection, Sighting
from edge_tracker.fsnet import samples
from edge_tracker.fsnet.classifier import gaussian_layers
from edge_tracker.fsnet.confidence import Confidence
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.fine_tuning import FineTuning, Rule
from edge_tracker.fsnet.first_frame import VIEW_NEGATIVES, VIEW_POSITIVES, VIEWS, learn_views
from edge_tracker.fsnet.network import Maps, Network, Rows
from edge_tracker.fsnet.pretrained import Pretrained
from edge_tracker.fsnet.roi_align import CELLS
from edge_tracker.fsnet.selection import choose
from edge_tracker.images import size_of
from edge_tracker.roi import Window, crop, is_plain
from edge_tracker.track import Track, TrackState

SMALLEST_SIDE_PX = 8.0  # a target that began larger is not believed to become smaller than this
LATER_POSITIVES, LATER_NEGATIVES = 24, 64  # samples of a frame after the first
REUSED = 0.5  # of the negatives, at most, that are candidates of the tracking step
BATCH = 32, 96
MINED_FROM, MINE_EVERY = 384, 5
LARGEST_CORRECTION = 0.3  # of a side, in one frame, by the box regression
COLOUR_RATE = 0.02  # per frame that is learned
# First looked for on a grid: how far it reaches to each side and its pitch, in sides of the box. One side away, a place
# must score so much more than the last one.
REACH, STEP, FAR = 1.2, 0.3, 0.3
REFINED = 0.375  # of the candidates lie around the best of the others
LEAST_NEAR = 32  # candidates around the last place
# While LOST, candidates lie on a grid over this share of the window: neighbouring looks of the search overlap by half.
SEARCHED, SEARCH_PITCH = 0.6, 0.25  # the latter in sides of the box


class View(NamedTuple):
    """What is seen in one window."""

    window: Window  # image pixels
    patch: NDArray[np.uint8]  # (side, side, 3) BGR, the crop
    maps: Maps


class Answer(NamedTuple):
    """What the classifier says about the best candidates, in crop pixels."""

    box: Box  # the mean of the best
    regressed: Box  # the same, each moved by the box regression
    score: float  # of the best one


class FsnetTracker:
    """Tracks one target. While LOST nothing is learned. A `track.Method`."""

    def __init__(
        self,
        network: Network,
        config: FsnetConfig,
        pretrained: Pretrained | None = None,
    ) -> None:
        """pretrained: fc4 and fc5 of the backbone that the network runs; None: they begin at random."""
        self._config, self._network, self._pretrained = config, network, pretrained
        self._confidence = pretrained.confidence if pretrained is not None else Confidence()
        self._belief = Belief(config.belief)
        self.box: Box = (0.0, 0.0, 1.0, 1.0)  # image pixels, as reported

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        """Choose the maps and learn the target from its box in the first image."""
        c = self._config
        self._random = np.random.default_rng(c.seed)
        self.box = self._place = self._good = box  # reported; where to look next; last believed
        self._frame, self._score = 0, 0.0
        self._smallest_px = max(1.0, min(SMALLEST_SIDE_PX, *box[2:]))
        self._belief.start()
        self._redetection: Redetection | None = None  # while searching
        self._camera = Camera()
        self._camera.jerk(image)
        window = self._window(box)
        patch = crop(image, window, c.input_side)
        on_crop = self._on_crop(box, window)
        self._colours = Colours(patch, on_crop)
        self._look = patch, on_crop  # of the target, when last believed
        self._memory = samples.Memory(
            (len(VIEWS) * VIEW_POSITIVES, len(VIEWS) * VIEW_NEGATIVES),
            (LATER_POSITIVES, LATER_NEGATIVES),
            (c.tuning.long_frames, c.tuning.negative_frames),
        )
        chosen = choose(self._network.taps(patch), c.maps.selection, c.maps.count, self._random)
        if self._pretrained is not None:
            layers = self._pretrained.layers([use.channels for use in chosen], self._random)
        else:
            layers = gaussian_layers(CELLS * sum(len(use.channels) for use in chosen), c.hidden, self._random)
        self._network.start(chosen, layers, self._memory.capacity)
        learn_views(self._network, image, box, self._window, self._memory, c, self._random)
        self._tuning = FineTuning(self._network, self._random)
        positives, negatives = self._memory.places_of_first()
        enough = None if c.tuning.loss_enough is None else c.tuning.loss_enough / 10
        rule = Rule(c.tuning.iterations_first, c.tuning.rate_first, enough, BATCH, len(negatives), MINE_EVERY)
        self._tuning.begin(rule, positives, negatives)
        self._tuning.advance(c.tuning.iterations_first)

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image, and learn from it if it is believed."""
        c = self._config
        self._frame += 1
        self._jerk(image)
        if self._redetection is not None:
            return self._seek(image, self._redetection)
        view = self._see(image, self._place)
        if view is None:  # a black frame, a covered lens: keep all that is known
            return Track(self.box, 0.0, TrackState.LOST)
        on_crop = self._on_crop(self._place, view.window)
        candidates, rows, best = self._coarse(view, on_crop)
        answer = self._refined(view, best, round(REFINED * c.candidates))
        self._score = answer.score
        learned = answer.score > c.tuning.m
        # Where the classifier is unsure of the place, it knows nothing of the size.
        growth = c.size_gain * math.log(_size(answer.regressed) / _size(answer.box)) if learned else 0.0
        sides = answer.box[2:] if learned else on_crop[2:]
        place = _with_sides(answer.box, sides[0] * math.exp(growth), sides[1] * math.exp(growth))
        self._place = self._on_image(place, view.window, image)
        self.box = self._on_image(answer.regressed, view.window, image) if learned else self._place
        if learned:
            self._remember(view, answer.box, candidates, rows)
        self._tune()
        return self._judge(image, view)

    def _jerk(self, image: NDArray[np.uint8]) -> None:
        """Follow a jerk of the camera: candidates reach no further than the target moves by itself."""
        dx, dy = self._camera.jerk(image)
        x, y, w, h = self._place
        if dx * dx + dy * dy > LEAST_JERK**2 * w * h:
            self._place = keep_in_frame((x + dx, y + dy, w, h), size_of(image), self._smallest_px)
            if self._redetection is not None:
                self._redetection.shift(dx, dy)

    def rescale(self, kx: float, ky: float, image_size: tuple[int, int]) -> None:
        """Go on in images kx times as wide and ky times as high."""
        self.box, self._place, self._good = (
            rescaled(box, kx, ky, image_size) for box in (self.box, self._place, self._good)
        )
        if self._redetection is not None:
            roi_px = self._window(self._good).side
            self._redetection = self._redetection.rescaled(self._good, self.box, roi_px, image_size)

    @property
    def tally(self) -> tuple[int, int, int]:
        """Fine-tunings begun, iterations done, iterations that the loss threshold saved; frame 1 included."""
        tally = self._tuning.tally
        return tally.updates, tally.done, tally.saved

    def _see(self, image: NDArray[np.uint8], box: Box) -> View | None:
        """What is seen around `box`; None where the window shows nothing at all."""
        window = self._window(box)
        patch = crop(image, window, self._config.input_side)
        return None if is_plain(patch) else View(window, patch, self._network.look(patch))

    def _coarse(self, view: View, last: Box) -> tuple[NDArray[np.float64], Rows, Box]:
        """Candidates around the last place and as far as the target may have moved, their rows, and the best of them.

        A Gaussian wide enough for fast targets would be too thin for slow ones.
        """
        c = self._config
        grid = samples.lattice(last, (2 * REACH * last[2], 2 * REACH * last[3]), STEP)
        near = max(LEAST_NEAR, c.candidates - round(REFINED * c.candidates) - len(grid))
        candidates = np.concatenate([grid, samples.around(last, near, c.spread, c.size_spread, self._random)])
        rows = self._network.pool(view.maps, candidates)
        scores, _ = self._network.judge(rows)
        moves = (candidates[:, :2] + candidates[:, 2:] / 2 - np.array(centre(last))) / np.array(last[2:])
        best = (scores - FAR * np.square(moves).sum(axis=1)).argmax()
        return candidates, rows, _box(candidates[int(best)])

    def _refined(self, view: View, place: Box, count: int) -> Answer:
        """What `count` candidates close around `place` (crop pixels) say."""
        c = self._config
        candidates = samples.around(place, count, c.spread / 2, c.size_spread, self._random)
        return self._answer(candidates, self._network.pool(view.maps, candidates))

    def _answer(self, candidates: NDArray[np.float64], rows: Rows) -> Answer:
        scores, deltas = self._network.judge(rows)
        best = np.argsort(-scores, kind="stable")[: self._config.averaged]
        limited = np.clip(deltas[best], -LARGEST_CORRECTION, LARGEST_CORRECTION)
        regressed = moved(candidates[best], limited.astype(np.float64))
        return Answer(_box(candidates[best].mean(axis=0)), _box(regressed.mean(axis=0)), float(scores[best[0]]))

    def _remember(self, view: View, box: Box, candidates: NDArray[np.float64], rows: Rows) -> None:
        """Collect samples around `box`; candidates, which were pooled already, serve as negatives."""
        c = self._config
        reusable = self._random.permutation(np.flatnonzero(iou(candidates, np.array(box)) < samples.NEGATIVE_IOU))
        reusable = reusable[: round(REUSED * LATER_NEGATIVES)]
        area = (0.0, 0.0, float(c.input_side), float(c.input_side))
        drawn = samples.drawn(box, LATER_POSITIVES, LATER_NEGATIVES - len(reusable), area, self._random)
        pooled = self._network.pool(view.maps, drawn)
        positives, negatives = self._memory.add()
        which = np.arange(len(drawn))
        self._network.keep(pooled, which[:LATER_POSITIVES], positives)
        self._network.keep(pooled, which[LATER_POSITIVES:], negatives[len(reusable) :])
        self._network.keep(rows, reusable, negatives[: len(reusable)])

    def _tune(self) -> None:
        """Begin a fine-tuning where one is due, and do this frame's share of it."""
        t = self._config.tuning
        if not self._tuning.running and (self._score < t.m or self._frame % t.long_every == 0):
            recent = t.short_frames if self._score < t.m else None
            rule = Rule(t.iterations, t.rate, t.loss_enough, BATCH, MINED_FROM, t.iterations)
            self._tuning.begin(rule, self._memory.positives(recent), self._memory.negatives())
        self._tuning.advance(t.per_frame)

    def _judge(self, image: NDArray[np.uint8], view: View) -> Track:
        """Say how far the box is to be believed; remember how the target looks, or begin to search for it."""
        belief = self._belief
        on_crop = self._on_crop(self.box, view.window)
        probability = self._probability(view, on_crop, self._score)
        if belief.believed and self._score > self._config.tuning.m:
            self._look = view.patch, on_crop
            self._colours.learn(view.patch, on_crop, COLOUR_RATE)
        state = belief.follow(probability)
        if belief.trusts(probability):
            self._good = self._place
        if belief.searching:
            self._tuning.give_up()
            roi_px = self._window(self._good).side
            self._redetection = Redetection.begun(
                image, self._good, self._place, roi_px, self._look, self._colours.histogram
            )
        return Track(self.box, belief.confidence, state)

    def _seek(self, image: NDArray[np.uint8], redetection: Redetection) -> Track:
        """While searching: look in two places, learn nothing."""
        best = redetection.step(image, partial(self._sighting, image), self._belief, self._frame)
        self.box = self._place = redetection.box
        state = self._belief.seek(best.probability, redetection.elsewhere)
        if not self._belief.searching:
            self._good, self._redetection = self.box, None
        return Track(self.box, self._belief.confidence, state)

    def _sighting(self, image: NDArray[np.uint8], place: Box, seeking: bool) -> Sighting:
        """Look closely around `place` (image pixels) for the target: on a grid, then around its best cell."""
        view = self._see(image, place)
        if view is None:
            return Sighting(place, 0.0, 0.0)
        c = self._config
        reach = SEARCHED * c.input_side
        candidates = samples.lattice(self._on_crop(place, view.window), (reach, reach), SEARCH_PITCH)
        scores, _ = self._network.judge(self._network.pool(view.maps, candidates))
        answer = self._refined(view, _box(candidates[int(scores.argmax())]), c.candidates // 4)
        probability = self._probability(view, answer.box, answer.score, seeking)
        return Sighting(self._on_image(answer.box, view.window, image), probability, probability)

    def _probability(self, view: View, on_crop: Box, score: float, seeking: bool = False) -> float:
        """That a box is the target's."""
        return self._confidence.probability(score, self._colours.likeness(view.patch, on_crop), seeking)

    def _window(self, box: Box, zoom: float = 1.0) -> Window:
        cx, cy = centre(box)
        side = max(8, round(zoom * self._config.window * math.sqrt(box[2] * box[3])))
        return Window(round(cx - side / 2), round(cy - side / 2), side)

    def _on_crop(self, box: Box, window: Window) -> Box:
        k = self._config.input_side / window.side
        x, y, w, h = box
        return (x - window.x) * k, (y - window.y) * k, w * k, h * k

    def _on_image(self, box: Box, window: Window, image: NDArray[np.uint8]) -> Box:
        k = window.side / self._config.input_side
        x, y, w, h = box
        return keep_in_frame((x * k + window.x, y * k + window.y, w * k, h * k), size_of(image), self._smallest_px)


def _size(box: Box) -> float:
    return math.sqrt(box[2] * box[3])


def _with_sides(box: Box, width: float, height: float) -> Box:
    """The same centre, other sides."""
    cx, cy = centre(box)
    return cx - width / 2, cy - height / 2, width, height


def _box(values: NDArray[np.float64]) -> Box:
    x, y, w, h = (float(v) for v in values)
    return x, y, w, h
