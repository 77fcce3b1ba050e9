"""FMST, feature map selection tracking (first paper, Algorithm 1). No network is trained on the target."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import Backbone
from edge_tracker.boxes import Box, keep_in_frame, rescaled
from edge_tracker.errors import ConfigError
from edge_tracker.fmst.candidates import best_candidate, candidate_confidences, candidate_scores, draw_candidates
from edge_tracker.fmst.channel_scores import average_scores, channel_scores
from edge_tracker.fmst.channel_weights import top_fraction
from edge_tracker.fmst.confidence import Appearance, state_of
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.prediction_map import normalise, prediction_map, resample, subtract_negative, sum_maps
from edge_tracker.fmst.target_map import coverage, target_map
from edge_tracker.fmst.weight_network import WeightNetwork
from edge_tracker.images import size_of
from edge_tracker.roi import Window, crop, is_plain, window_around
from edge_tracker.track import Track, TrackState

PREDICTION_SIDE = 28  # cells along a side of the summed prediction map; 56 tracks no better
SMALLEST_SIDE_PX = 10.0  # image pixels; a target that began larger does not become smaller: too few pixels to measure


class Mark(NamedTuple):
    """The current box on the grid of a group."""

    box: Box  # in cells
    grid: tuple[int, int]  # (H, W)


class FmstTracker:
    """Tracks one target with a frozen backbone. Images are uint8 (H, W, 3) BGR, boxes pixels. A `track.Method`.

    The channels of a stride form a group (with `config.layers` "sum", those of a layer). Every group has one prediction
    map per type of target map, and the maps are summed. While LOST, the tracker continues to learn.

    network: computes the channel weights (section 4) instead of the rule of Eq. 5. Raises ConfigError if such networks
    are not trained for the settings.
    """

    def __init__(self, backbone: Backbone, config: FmstConfig, network: WeightNetwork | None = None) -> None:
        if network is not None and (config.maps, config.layers) != ("S", "concat"):
            raise ConfigError("a weight network takes the scores of maps S and layers concat, nothing else")
        self.backbone = backbone
        self.config = config
        self.network = network
        self._alpha = config.alpha if config.alpha is not None else network.alpha if network is not None else 0.0
        self.box: Box = (0.0, 0.0, 1.0, 1.0)
        self._smallest_side_px = 1.0
        self._averages: list[NDArray[np.float32]] = []  # averaged scores, (C,) per group and type
        self._first: list[NDArray[np.float32]] = []  # the scores of frame 1
        self._appearances: list[Appearance] = []  # one per group
        self._generator = np.random.default_rng(config.seed)

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        """Learn the target from its box in the first image (Algorithm 1, lines 1-6)."""
        self._generator = np.random.default_rng(self.config.seed)
        self.box = box
        self._smallest_side_px = max(1.0, min(SMALLEST_SIDE_PX, *box[2:]))
        window = window_around(box, self.config.roi_scale)
        groups = self._extract(crop(image, window, self.backbone.info.input_side))
        marks = [self._mark(group, window) for group in groups]
        self._first = self._averages = self._scores(groups, marks)
        self._appearances = [Appearance(g, coverage(m.box, m.grid)) for g, m in zip(groups, marks, strict=True)]

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image (Algorithm 1, lines 8-17)."""
        window = window_around(self.box, self.config.roi_scale)
        patch = crop(image, window, self.backbone.info.input_side)
        if is_plain(patch):  # a black frame, a covered lens: nothing to learn from
            return Track(self.box, 0.0, TrackState.LOST)
        groups = self._extract(patch)
        prediction = self._predict(groups)
        if not prediction.any():  # no selected channel responds
            return Track(self.box, 0.0, TrackState.LOST)
        found = self._locate(prediction, window)
        self.box = keep_in_frame(found, size_of(image), self._smallest_side_px)
        marks = [self._mark(group, window) for group in groups]
        scores = self._scores(groups, marks)
        self._averages = [
            average_scores(average, now, self.config.eta) for average, now in zip(self._averages, scores, strict=True)
        ]
        confidence = self._confidence(groups, marks)
        return Track(self.box, confidence, state_of(confidence))

    def rescale(self, kx: float, ky: float, image_size: tuple[int, int]) -> None:
        """Expect images kx times as wide and ky times as high from now on."""
        self.box = rescaled(self.box, kx, ky, image_size)

    def _extract(self, patch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The feature maps of a crop, (H, W, C) per group."""
        groups = []
        for tap, features in zip(self.backbone.info.taps, self.backbone(patch), strict=True):
            if self.config.layers == "concat":
                groups.append(features)
            else:
                ends = np.cumsum([layer.channels for layer in tap.layers])
                groups += np.split(features, ends[:-1], axis=2)
        return groups

    def _scores(self, groups: list[NDArray[np.float32]], marks: list[Mark]) -> list[NDArray[np.float32]]:
        """Scores of all channels for the current box: (C,) per group and type; the types of a group are adjacent."""
        scores = []
        for group, mark in zip(groups, marks, strict=True):
            for kind in self.config.maps:
                scores.append(channel_scores(group, target_map(kind, mark.box, mark.grid)))
        return scores

    def _predict(self, groups: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The summed prediction map, (PREDICTION_SIDE, PREDICTION_SIDE) in [0, 1]; its cells divide the crop evenly."""
        maps = []
        averages = iter(zip(self._averages, self._first, strict=True))
        for features in groups:
            for _ in self.config.maps:
                positive, negative = self._weights(*next(averages))
                values = normalise(prediction_map(features, positive))
                if self._alpha > 0:
                    values = subtract_negative(values, normalise(prediction_map(features, negative)), self._alpha)
                maps.append(resample(values, PREDICTION_SIDE))
        return sum_maps(maps)

    def _weights(
        self, average: NDArray[np.float32], first: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """w_p and w_n (C,) from averaged scores (C,) and those of frame 1 (C,)."""
        if self.network is not None:
            return self.network(average, first)
        # The scores of the negative map are -s.
        return top_fraction(average, self.config.fraction), top_fraction(-average, self.config.fraction)

    def _locate(self, prediction: NDArray[np.float32], window: Window) -> Box:
        """Draw candidates around the last box and choose (sections 2.2.3 and 2.2.4): image pixels."""
        c = self.config
        candidates = draw_candidates(self.box, self._generator, c.candidates, c.sigma_xy, c.sigma_wh, c.mean_size)
        on_grid = window.to_grid(candidates, PREDICTION_SIDE)
        scores = candidate_scores(prediction, on_grid, c.b)
        confidences = candidate_confidences(scores, candidates, self.box, window.side / 2)
        return best_candidate(confidences, candidates, c.averaged)

    def _confidence(self, groups: list[NDArray[np.float32]], marks: list[Mark]) -> float:
        """Similarity of the current box to the target of frame 1, mean over groups: [0, 1]."""
        similarities = [
            appearance.similarity(group, coverage(mark.box, mark.grid))
            for appearance, group, mark in zip(self._appearances, groups, marks, strict=True)
        ]
        return min(max(sum(similarities) / len(similarities), 0.0), 1.0)

    def _mark(self, features: NDArray[np.float32], window: Window) -> Mark:
        height, width = features.shape[:2]
        box = window.to_grid(np.array(self.box), height)
        x, y, w, h = box.tolist()
        return Mark((x, y, w, h), (height, width))
