"""FSNet: candidates around the last place, pooled from maps that are chosen in frame 1, judged by a classifier that is
fine-tuned when it grows unsure (III-E)."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import BackboneInfo
from edge_tracker.boxes import Box, centre, iou, keep_in_frame, rescaled
from edge_tracker.fsnet import samples
from edge_tracker.fsnet.box_regression import ridge_regression
from edge_tracker.fsnet.classifier import gaussian_layers
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.fine_tuning import FineTuning, Rule
from edge_tracker.fsnet.network import Maps, Network, Rows
from edge_tracker.fsnet.pretrained import CELLS, Pretrained
from edge_tracker.fsnet.selection import choose
from edge_tracker.images import size_of
from edge_tracker.roi import Window, crop, is_plain
from edge_tracker.track import Track, TrackState

SMALLEST_SIDE_PX = 8.0
# Views of frame 1: (shift right, shift down) in sides of the box, zoom, mirrored, blur in crop pixels.
VIEWS = (
    (0.0, 0.0, 1.0, False, 0.0),
    (0.5, 0.3, 1.0, False, 0.0),
    (-0.4, -0.5, 1.1, False, 0.0),
    (0.0, 0.0, 0.9, True, 0.0),
    (0.3, -0.4, 1.0, True, 0.0),
    (-0.3, 0.4, 1.0, False, 1.5),
)
VIEW_POSITIVES, VIEW_NEGATIVES, VIEW_BOXES = 40, 160, 48  # samples of each; the last for the box regression
LATER_POSITIVES, LATER_NEGATIVES = 24, 64
REUSED = 0.5  # of the negatives, at most, that are candidates of the tracking step
BATCH = 32, 96
MINED_FROM, MINE_EVERY = 384, 5
REGRESSED_IOU = 0.6  # of the boxes that the box regression learns from
LARGEST_CORRECTION = 0.3  # of a side, in one frame


class Sight(NamedTuple):
    """What is seen in a window."""

    window: Window
    maps: Maps


class FsnetTracker:
    """Tracks one target. Images are uint8 (H, W, 3) BGR, boxes pixels (see `boxes`)."""

    def __init__(
        self, network: Network, info: BackboneInfo, config: FsnetConfig, pretrained: Pretrained | None = None
    ) -> None:
        """info: of the backbone that the network runs. pretrained: its fc4 and fc5; None: they begin at random."""
        self.config, self.network = config, network
        self._info, self._pretrained = info, pretrained
        self.box: Box = (0.0, 0.0, 1.0, 1.0)

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        """Choose the maps and learn the target from its box in the first image."""
        c = self.config
        self._random = np.random.default_rng(c.seed)
        self.box, self._frame, self.score = box, 0, 0.0
        self._smallest_px = max(1.0, min(SMALLEST_SIDE_PX, *box[2:]))
        self._memory = samples.Memory(
            (len(VIEWS) * VIEW_POSITIVES, len(VIEWS) * VIEW_NEGATIVES),
            (LATER_POSITIVES, LATER_NEGATIVES),
            (c.long_frames, c.negative_frames),
        )
        self._choose(crop(image, self._window(box), c.input_side))
        self._tuning = FineTuning(self.network, self._random)
        positives, negatives = self._memory.places_of_first()
        rows, deltas = [], []
        for k, view in enumerate(VIEWS):
            maps, on_crop = self._view(image, box, *view)
            chosen = self._draw(on_crop, VIEW_POSITIVES, VIEW_NEGATIVES)
            pooled = self.network.pool(maps, chosen)
            which = np.arange(len(chosen))
            self.network.keep(pooled, which[:VIEW_POSITIVES], positives[k * VIEW_POSITIVES :][:VIEW_POSITIVES])
            self.network.keep(pooled, which[VIEW_POSITIVES:], negatives[k * VIEW_NEGATIVES :][:VIEW_NEGATIVES])
            boxes = samples.around(on_crop, 4 * VIEW_BOXES, 0.12, 0.12, self._random, 0.15)
            boxes = boxes[iou(boxes, np.array(on_crop)) > REGRESSED_IOU][:VIEW_BOXES]
            rows.append(self.network.fetch(self.network.pool(maps, boxes)))
            deltas.append(_deltas(boxes, np.array(on_crop)))
        self.network.set_regression(*ridge_regression(np.concatenate(rows), np.concatenate(deltas), c.box_ridge))
        rule = Rule(c.iterations_first, c.rate_first, c.l and c.l / 10, BATCH, len(negatives), MINE_EVERY)
        self._tuning.begin(rule, positives, negatives)
        self._tuning.advance(c.iterations_first)

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image, and learn from it if it is believed."""
        c = self.config
        self._frame += 1
        sight = self._look(image, self.box)
        if sight is None:
            return Track(self.box, 0.0, TrackState.LOST)
        on_crop = self._on_crop(self.box, sight.window)
        candidates = samples.around(on_crop, c.candidates, c.spread, c.size_spread, self._random)
        pooled = self.network.pool(sight.maps, candidates)
        scores, deltas = self.network.judge(pooled)
        best = np.argsort(-scores, kind="stable")[: c.averaged]
        self.score = float(scores[best[0]])
        found = candidates[best].mean(axis=0)
        box = self._on_image(found, sight.window)
        self.box = keep_in_frame(box, size_of(image), self._smallest_px)
        shown = self.box
        if self.score > c.m:
            moved = _moved(candidates[best], np.clip(deltas[best], -LARGEST_CORRECTION, LARGEST_CORRECTION))
            shown = keep_in_frame(self._on_image(moved.mean(axis=0), sight.window), size_of(image), self._smallest_px)
            self._remember(sight, found, candidates, pooled)
        self._tune()
        confidence = 1 / (1 + math.exp(-min(max(self.score, -30.0), 30.0)))
        return Track(shown, confidence, TrackState.TRACKED if self.score > 0 else TrackState.UNCERTAIN)

    def rescale(self, kx: float, ky: float, image_size: tuple[int, int]) -> None:
        """Go on in images kx times as wide and ky times as high."""
        self.box = rescaled(self.box, kx, ky, image_size)

    def _choose(self, patch: NDArray[np.uint8]) -> None:
        """Select the maps of this target (III-D) and begin its classifier."""
        c = self.config
        chosen = choose(self.network.taps(patch), c.selection, c.maps, self._random)
        if self._pretrained is not None:
            layers = self._pretrained.layers([use.channels for use in chosen], self._random)
        else:
            layers = gaussian_layers(CELLS * sum(len(use.channels) for use in chosen), c.hidden, self._random)
        self.network.start(chosen, layers, self._memory.capacity)

    def _view(
        self, image: NDArray[np.uint8], box: Box, right: float, down: float, zoom: float, mirrored: bool, blur: float
    ) -> tuple[Maps, Box]:
        """A changed view of frame 1, and the box in it."""
        c = self.config
        x, y, w, h = box
        window = self._window((x + right * w, y + down * h, w, h), zoom)
        patch = crop(image, window, c.input_side)
        on_crop = self._on_crop(box, window)
        if mirrored:
            patch = np.ascontiguousarray(patch[:, ::-1])
            on_crop = (c.input_side - on_crop[0] - on_crop[2], *on_crop[1:])
        if blur:
            patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), blur), np.uint8)
        return self.network.look(patch), on_crop

    def _look(self, image: NDArray[np.uint8], box: Box) -> Sight | None:
        """The maps of the window around `box`; None where it shows nothing at all."""
        window = self._window(box)
        patch = crop(image, window, self.config.input_side)
        return None if is_plain(patch) else Sight(window, self.network.look(patch))

    def _draw(self, on_crop: Box, positives: int, negatives: int) -> NDArray[np.float64]:
        """Boxes to be learned: positives, then negatives."""
        side = float(self.config.input_side)
        return np.concatenate(
            [
                samples.positives(on_crop, positives, self._random),
                samples.negatives(on_crop, negatives, (0.0, 0.0, side, side), self._random),
            ]
        )

    def _remember(
        self, sight: Sight, found: NDArray[np.float64], candidates: NDArray[np.float64], pooled: Rows
    ) -> None:
        """Collect samples around what was found; candidates that were pooled already serve as negatives."""
        reusable = np.flatnonzero(iou(candidates, found) < samples.NEGATIVE_IOU)[: round(REUSED * LATER_NEGATIVES)]
        box = (float(found[0]), float(found[1]), float(found[2]), float(found[3]))
        drawn = self._draw(box, LATER_POSITIVES, LATER_NEGATIVES - len(reusable))
        rows = self.network.pool(sight.maps, drawn)
        positives, negatives = self._memory.add()
        which = np.arange(len(drawn))
        self.network.keep(rows, which[:LATER_POSITIVES], positives)
        self.network.keep(rows, which[LATER_POSITIVES:], negatives[len(reusable) :])
        self.network.keep(pooled, reusable, negatives[: len(reusable)])

    def _tune(self) -> None:
        """Begin a fine-tuning where one is due, and do this frame's share of it."""
        c = self.config
        if not self._tuning.running and (self.score < c.m or self._frame % c.long_every == 0):
            rule = Rule(c.iterations, c.rate, c.l, BATCH, MINED_FROM, c.iterations)
            recent = c.short_frames if self.score < c.m else None
            self._tuning.begin(rule, self._memory.positives(recent), self._memory.negatives())
        self._tuning.advance(c.iterations_per_frame)

    def _window(self, box: Box, zoom: float = 1.0) -> Window:
        cx, cy = centre(box)
        side = max(8, round(zoom * self.config.window * math.sqrt(box[2] * box[3])))
        return Window(round(cx - side / 2), round(cy - side / 2), side)

    def _on_crop(self, box: Box, window: Window) -> Box:
        k = self.config.input_side / window.side
        x, y, w, h = box
        return (x - window.x) * k, (y - window.y) * k, w * k, h * k

    def _on_image(self, box: NDArray[np.float64], window: Window) -> Box:
        k = window.side / self.config.input_side
        x, y, w, h = (float(v) * k for v in box)
        return x + window.x, y + window.y, w, h


def _deltas(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    place = (truth[..., :2] + truth[..., 2:] / 2 - boxes[..., :2] - boxes[..., 2:] / 2) / boxes[..., 2:]
    return np.concatenate([place, np.log(truth[..., 2:] / boxes[..., 2:])], axis=-1)


def _moved(boxes: NDArray[np.float64], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = boxes[..., 2:] * np.exp(deltas[..., 2:])
    middle = boxes[..., :2] + boxes[..., 2:] / 2 + deltas[..., :2] * boxes[..., 2:]
    return np.concatenate([middle - sides / 2, sides], axis=-1)
