"""What FSNet computes, and the NumPy form of it: maps of a crop, pooled rows of boxes, their scores, a step of SGD.

`onnx_network.OnnxNetwork` is the same on ONNX Runtime, a GPU's memory included: rows and weights stay there, which is
why samples are kept here and not by the tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import Backbone, BackboneInfo
from edge_tracker.fsnet.classifier import Array, Layers, Sgd, descend, gradients, scores, still
from edge_tracker.fsnet.roi_align import roi_align, roi_pool
from edge_tracker.fsnet.selection import Chosen
from edge_tracker.grid import Grid

Places = NDArray[np.intp]
Maps = Any  # of one crop, kept as the network likes
Rows = Any  # (m, D) pooled features of boxes, likewise


class Network(Protocol):
    """One target's maps, classifier and samples."""

    def taps(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """All maps of a crop, as the backbone gives them: (H, W, C) of each tap."""
        ...

    def start(self, chosen: Sequence[Chosen], layers: Layers, capacity: int) -> None:
        """Begin a target: the maps it uses, its classifier, and room for `capacity` samples."""
        ...

    def look(self, crop: NDArray[np.uint8]) -> Maps:
        """The chosen maps of a crop (H, W, 3) BGR."""
        ...

    def pool(self, maps: Maps, boxes: NDArray[np.float64]) -> Rows:
        """Fixed-size features of boxes (m, 4) in pixels of the crop."""
        ...

    def fetch(self, rows: Rows) -> Array:
        """The rows as an array (m, D)."""
        ...

    def judge(self, rows: Rows) -> tuple[Array, Array]:
        """Score (m,) of each row, and (dx/w, dy/h, dlog w, dlog h) (m, 4) that bring its box onto the target."""
        ...

    def set_regression(self, weights: Array, constants: Array) -> None:
        """(D, 4), (4,): what `judge` moves boxes by."""
        ...

    def keep(self, rows: Rows, which: Places, places: Places) -> None:
        """Store the rows `which` as the samples `places`."""
        ...

    def score_stored(self, places: Places) -> Array:
        """Score (m,) of stored samples."""
        ...

    def step(self, positives: Places, negatives: Places, rate: float) -> float:
        """One step of SGD on stored samples; the mean loss before it."""
        ...


class DeviceBackbone(Backbone, Protocol):
    """A backbone whose maps may stay on the device that made them."""

    def on_device(self, crop: NDArray[np.uint8]) -> list[Any]:
        """crop (H, W, 3) uint8 BGR -> per tap a value (1, C, H, W) of the device."""
        ...


class NumpyNetwork:
    """On the CPU, in float32; the same bits from run to run where BLAS has one thread."""

    def __init__(
        self,
        backbone: Backbone,
        pooling: str = "align",
        points: int = 2,
        dropout: float = 0.0,
        sgd: Sgd | None = None,
        random: np.random.Generator | None = None,
    ) -> None:
        self._backbone = backbone
        self._grids = grids_of(backbone.info)
        self._pool: Callable[[NDArray[np.float32], NDArray[np.float64]], Array] = (
            roi_pool if pooling == "pool" else lambda features, boxes: roi_align(features, boxes, points)
        )
        self._dropout, self._sgd, self._random = dropout, sgd or Sgd(), random or np.random.default_rng(0)

    def taps(self, crop: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return self._backbone(crop)

    def start(self, chosen: Sequence[Chosen], layers: Layers, capacity: int) -> None:
        self._chosen = list(chosen)
        self._layers, self._velocity = layers, still(layers)
        self._samples = np.zeros((capacity, len(layers.w4)), np.float32)
        self._regression = np.zeros((len(layers.w4), 4), np.float32), np.zeros(4, np.float32)

    def look(self, crop: NDArray[np.uint8]) -> Maps:
        taps = self._backbone(crop)
        return [
            np.ascontiguousarray(tap[..., use.channels]) * np.float32(use.gain)
            for tap, use in zip(taps, self._chosen, strict=True)
        ]

    def pool(self, maps: Maps, boxes: NDArray[np.float64]) -> Rows:
        pooled = [
            self._pool(part, in_cells(boxes, grid))
            for part, grid in zip(maps, self._grids, strict=True)
            if part.shape[-1]
        ]
        return np.concatenate(pooled, axis=1)

    def fetch(self, rows: Rows) -> Array:
        return np.asarray(rows)

    def set_regression(self, weights: Array, constants: Array) -> None:
        self._regression = weights, constants

    def judge(self, rows: Rows) -> tuple[Array, Array]:
        weights, constants = self._regression
        return scores(self._layers, rows), rows @ weights + constants

    def keep(self, rows: Rows, which: Places, places: Places) -> None:
        self._samples[places] = rows[which]

    def score_stored(self, places: Places) -> Array:
        return scores(self._layers, self._samples[places])

    def step(self, positives: Places, negatives: Places, rate: float) -> float:
        rows = self._samples[np.concatenate([positives, negatives])]
        labels = np.repeat([1, 0], [len(positives), len(negatives)])
        loss, gradient = gradients(self._layers, rows, labels, self._masks(len(rows)))
        descend(self._layers, self._velocity, gradient, rate, self._sgd)
        return loss

    def _masks(self, count: int) -> tuple[Array, Array] | None:
        return dropout_masks(self._random, count, self._layers.w5.shape[0], self._dropout)


def dropout_masks(random: np.random.Generator, count: int, hidden: int, rate: float) -> tuple[Array, Array] | None:
    """0 where an answer of fc4, of fc5 is dropped, else 1 / (1 - rate): (count, hidden) each; None at rate 0."""
    if rate == 0:
        return None
    kept = random.random((2, count, hidden), dtype=np.float32) >= rate
    first, second = kept.astype(np.float32) / np.float32(1 - rate)
    return first, second


def grids_of(info: BackboneInfo) -> list[Grid]:
    """Of the taps, in their order."""
    return [Grid.over(info.height, tap.stride, tap.receptive_offset_px) for tap in info.taps]


def in_cells(boxes: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Boxes (m, 4) in pixels of the crop -> in cells of a tap, the centre of cell i being i."""
    return (boxes - np.array([grid.offset_px, grid.offset_px, 0.0, 0.0])) / grid.stride
