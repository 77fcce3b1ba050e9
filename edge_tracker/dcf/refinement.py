"""Box refinement: a small network, trained offline, tells by comparison with frame 1 where the target's box ends.

The samples in and around the box are matched with those of frame 1 by attention (as in space-time memory networks, Oh
et al. 2019): what lay inside the target's box there, and where, is read from the matches, and two convolutions make a
correction of the box of it (what is asked of them is that of Alpha-Refine, Yan et al. 2021). The same network judges
whether the target is under the box at all. Trained by scripts/train_refiner.py; NumPy alone here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.dcf.box_regression import bin_centres, sample
from edge_tracker.dcf.grid import Grid

BINS, CONTEXT = 12, 2.0  # samples along each side, over so many times the box
COARSE, FINE = 32, 48  # channels of the taps
COLOUR_PX = 4  # of the crop, of which a cell's colour is the mean
EMBEDDING, KEY, VALUE = 48, 32, 16
IDENTITY, INNER, PARTS = 64, 6, 3  # dimensions; samples along each side of the box itself; parts they are pooled into
SURE = 8.0  # log odds that are not surpassed
EDGE = 12.0  # how sharply a box ends


def _places() -> NDArray[np.float32]:
    line = bin_centres(BINS, CONTEXT)
    x, y = np.meshgrid(line, line)
    inside = 1 / ((1 + np.exp(EDGE * (abs(x) - 0.5))) * (1 + np.exp(EDGE * (abs(y) - 0.5))))
    return np.stack([x, y, x * x, y * y, inside], axis=-1).reshape(-1, 5).astype(np.float32)


# Of each sample in the box it was taken from: x, y (in sides, from the centre), their squares, whether it lies inside.
PLACES = _places()
# What a match with a sample of frame 1 says: inside, and where if inside; outside. (BINS BINS, 6)
MASKS = np.concatenate([PLACES[:, 4:], PLACES[:, 4:] * PLACES[:, :4], 1 - PLACES[:, 4:]], axis=1)
_MATCHED = EMBEDDING + VALUE + 2 + PLACES.shape[1]  # channels after matching

# Of the weights: what comes in, what goes out. Samples, matched maps and convolved maps are laid out (row, column,
# channel), convolutions (row, column, channel in, channel out).
SHAPES = {
    "embed.0": (COARSE + FINE + 3, 64),
    "embed.1": (64, EMBEDDING),
    "key": (EMBEDDING, KEY),
    "value": (EMBEDDING + MASKS.shape[1], VALUE),
    "convolve.0": (9 * _MATCHED, 48),
    "convolve.1": (9 * 48, 64),
    "head.0": (64 * (BINS // 2) ** 2, 64),
    "head.1": (64, 9),  # four errors, the log odds, four log scales of the errors that are left
    "identity": (PARTS * PARTS * EMBEDDING, IDENTITY),
}


class RefinementNetwork:
    """The weights, checked: `NAME.weight` (in, out) and `NAME.bias` (out,) for each of SHAPES, `sharpness` ()."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Raises ValueError for a tensor that is missing, of another shape, or not finite."""
        expected: dict[str, tuple[int, ...]] = {"sharpness": ()}
        for name, (inputs, outputs) in SHAPES.items():
            expected |= {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}
        if tensors.keys() != expected.keys():
            raise ValueError(f"has the tensors {', '.join(sorted(tensors))}")
        for name, shape in expected.items():
            if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
                raise ValueError(f"{name} has the shape {tensors[name].shape} or is not finite")
        self.tensors = {name: np.asarray(tensor, np.float32, order="C") for name, tensor in tensors.items()}
        self.sharpness = float(tensors["sharpness"])

    def linear(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, in) -> (n, out)."""
        product: NDArray[np.float32] = values @ self.tensors[f"{name}.weight"]
        product += self.tensors[f"{name}.bias"]
        return product

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.linear("embed.1", _rectified(self.linear("embed.0", samples)))

    def keys(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors: (n, KEY)."""
        keys = self.linear("key", embedded)
        keys /= np.sqrt(np.einsum("nk,nk->n", keys, keys))[:, None] + np.float32(1e-12)
        return keys

    def values(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """What frame 1 says where a sample matches it: (n, VALUE + 1)."""
        read = self.linear("value", np.concatenate([embedded, MASKS], axis=1))
        return np.concatenate([read, MASKS[:, :1]], axis=1)

    def convolve(self, name: str, maps: NDArray[np.float32], step: int) -> NDArray[np.float32]:
        """3 x 3, zero-padded, rectified: (n, n, C) -> (n / step, n / step, D)."""
        n, _, channels = maps.shape
        padded = np.zeros((n + 2, n + 2, channels), np.float32)
        padded[1:-1, 1:-1] = maps
        windows = sliding_window_view(padded, (3, 3), axis=(0, 1))[::step, ::step]  # (n, n, C, 3, 3)
        columns = windows.transpose(0, 1, 3, 4, 2).reshape((n // step) ** 2, -1)
        return _rectified(self.linear(name, columns)).reshape(n // step, n // step, -1)


class View(NamedTuple):
    """A crop, and the target's box in its pixels."""

    coarse: NDArray[np.float32]  # (n, n, COARSE)
    fine: NDArray[np.float32] | None  # (m, m, FINE); nothing is refined without it
    patch: NDArray[np.uint8]  # (side, side, 3) BGR
    box: Box


class Correction(NamedTuple):
    """What the network says of a box."""

    errors: NDArray[np.float32]  # (dx / w, dy / h, dlog w, dlog h) that bring it onto the target
    match: float  # log odds that it lies on the target, in units of SURE: [-1, 1]


class Refiner:
    """Refines the boxes of one target."""

    def __init__(self, network: RefinementNetwork, coarse: Grid, fine: Grid) -> None:
        self._network, self._coarse, self._fine = network, coarse, fine
        self._keys = np.zeros((BINS * BINS, KEY), np.float32)
        self._values = np.zeros((BINS * BINS, VALUE + 1), np.float32)
        self._bias = np.zeros(4, np.float32)

    def start(self, views: Sequence[View]) -> None:
        """Know the target by its box in the first view. What is said of the right boxes of the other views, if any, is
        what this network always says of this target: it is taken off from then on."""
        embedded = self._network.embed(self._samples(views[0]))
        self._keys, self._values = self._network.keys(embedded), self._network.values(embedded)
        self._bias[:] = 0
        if len(views) > 1:
            self._bias = np.mean([self.predict(view).errors for view in views[1:]], axis=0)

    def predict(self, view: View) -> Correction:
        """How to bring the box of a view onto the target."""
        network = self._network
        embedded = network.embed(self._samples(view))
        likeness = network.keys(embedded) @ self._keys.T
        best = likeness.max(axis=1, keepdims=True)
        likeness -= best
        likeness *= np.float32(network.sharpness)
        shares = np.exp(likeness, out=likeness)
        shares /= shares.sum(axis=1, keepdims=True)
        maps = np.concatenate([embedded, shares @ self._values, best, PLACES], axis=1).reshape(BINS, BINS, -1)
        maps = network.convolve("convolve.1", network.convolve("convolve.0", maps, 1), 2)
        said = network.linear("head.1", _rectified(network.linear("head.0", maps.reshape(1, -1))))[0]
        return Correction(said[:4] - self._bias, min(max(float(said[4]) / SURE, -1.0), 1.0))

    def _samples(self, view: View) -> NDArray[np.float32]:
        """(BINS BINS, channels)."""
        if view.fine is None:
            raise ValueError("a view without fine features cannot be refined")
        coloured = colours(view.patch), colour_grid(len(view.patch))
        maps = (view.fine, self._fine), (view.coarse, self._coarse), coloured
        boxes = [np.array([grid.box(view.box)]) for _, grid in maps]
        samples = [sample(m, b, BINS, CONTEXT).reshape(BINS * BINS, -1) for (m, _), b in zip(maps, boxes, strict=True)]
        return np.concatenate(samples, axis=1)


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


def _rectified(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(values, np.float32(0), out=values)
