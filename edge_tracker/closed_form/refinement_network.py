"""The weights of the refiner, and those of its layers that are needed alone, in NumPy. Trained by
scripts/train_refiner.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.grid import bin_centres

BINS, CONTEXT = 16, 2.0  # samples along each side, over so many times the box
COARSE, FINE = 32, 48  # channels of the taps
COLOUR_PX = 4  # of the crop, of which a cell's colour is the mean
COLOUR_SPLIT = 2  # of each sample, along each side: colours, which end sharply, are sampled more densely
CHANNELS = COARSE + FINE + 3 * COLOUR_SPLIT**2  # of a sample
EMBEDDING, KEY, VALUE, NARROW = 48, 32, 16, 32
# Of what tells targets apart: dimensions; samples along each side of the box itself; parts that they are pooled into.
IDENTITY, INNER, PARTS = 64, 6, 3
SURE = 8.0  # log odds are clipped to +-8
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
# The mean of the samples of a part of the box: (PARTS PARTS, INNER INNER).
_LINE = np.kron(np.eye(PARTS), np.full(INNER // PARTS, PARTS / INNER))
POOLING = np.kron(_LINE, _LINE).astype(np.float32)
MATCHED = EMBEDDING + VALUE + 2 + PLACES.shape[1]  # channels after matching

# Of the weights: what comes in, what goes out. Samples, matched maps and convolved maps are laid out (row, column,
# channel), convolutions (row, column, channel in, channel out).
SHAPES = {
    "embed.0": (CHANNELS, 64),
    "embed.1": (64, EMBEDDING),
    "key": (EMBEDDING, KEY),
    "value": (EMBEDDING + MASKS.shape[1], VALUE),
    "narrow": (MATCHED, NARROW),  # of what the first convolution costs, half is saved by it
    "convolve.0": (9 * NARROW, 48),
    "convolve.1": (9 * 48, 64),
    "head.0": (64 * (BINS // 2) ** 2, 64),
    "head.1": (64, 9),  # four errors, the log odds, four log scales of what is left of the errors
    "identity": (PARTS * PARTS * EMBEDDING, IDENTITY),
}


class Reference(NamedTuple):
    """The target in frame 1, as attention reads it."""

    keys: NDArray[np.float32]  # of length `sharpness`: (KEY, BINS BINS)
    values: NDArray[np.float32]  # what is read where a sample matches, as it comes out of `narrow`: (BINS BINS, NARROW)


class RefinementNetwork:
    """The weights, checked: `NAME.weight` (in, out) and `NAME.bias` (out,) for each of SHAPES, `sharpness` ()."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Raises ValueError for a tensor that is missing, of another shape, or not finite, and for a sharpness that is
        not positive."""
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
        if self.sharpness <= 0:
            raise ValueError(f"has a sharpness of {self.sharpness:g}")
        # The rows of `narrow` for each part of what comes in.
        ends = np.cumsum([EMBEDDING, VALUE + 1, 1])
        parts = np.split(self.tensors["narrow.weight"], ends)
        self.narrow = dict(zip(("embedded", "read", "best", "places"), parts, strict=True))
        # What is linear between the first layer and the identity is one matrix: (PARTS PARTS 64, IDENTITY).
        by_part = self.tensors["identity.weight"].reshape(PARTS * PARTS, EMBEDDING, IDENTITY)
        self._identity = (self.tensors["embed.1.weight"] @ by_part).reshape(-1, IDENTITY)
        self._identity_bias = self.tensors["embed.1.bias"] @ by_part.sum(axis=0) + self.tensors["identity.bias"]

    def linear(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, in) -> (n, out)."""
        product: NDArray[np.float32] = values @ self.tensors[f"{name}.weight"]
        product += self.tensors[f"{name}.bias"]
        return product

    def reference(self, samples: NDArray[np.float32]) -> Reference:
        """What attention reads of frame 1: samples (BINS BINS, channels)."""
        embedded = self.linear("embed.1", rectified(self.linear("embed.0", samples)))
        keys = self.linear("key", embedded)
        keys *= self.sharpness / np.sqrt(np.einsum("nk,nk->n", keys, keys) + np.float32(1e-12))[:, None]
        read = self.linear("value", np.concatenate([embedded, MASKS], axis=1))
        values = np.concatenate([read, MASKS[:, :1]], axis=1) @ self.narrow["read"]
        return Reference(np.ascontiguousarray(keys.T), values)

    def identity(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """INNER x INNER samples of each of m boxes (m INNER INNER, channels) -> unit vectors (m, IDENTITY), near one
        another where they show the same target."""
        hidden = rectified(self.linear("embed.0", samples))
        pooled = POOLING @ hidden.reshape(-1, INNER * INNER, hidden.shape[1])
        vectors: NDArray[np.float32] = pooled.reshape(len(pooled), -1) @ self._identity
        vectors += self._identity_bias
        vectors /= np.sqrt(np.einsum("mi,mi->m", vectors, vectors))[:, None] + np.float32(1e-12)
        return vectors


def rectified(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """ReLU in place."""
    return np.maximum(values, np.float32(0), out=values)
