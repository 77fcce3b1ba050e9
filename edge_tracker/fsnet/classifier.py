"""The classifier fc4-fc5-fc6 of pooled features: target or background (III-B), and its SGD step (III-C).

Weights are (inputs, outputs). fc4 and fc5 are followed by a ReLU and, while training, by dropout; the loss is softmax
cross-entropy; the two outputs of fc6 are background and target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
SETTLED = np.float32(1e-12)  # error of an output from which nothing is learned
CHUNK = 1 << 15  # numbers that a step changes at once, so that they stay in the cache


class Layers(NamedTuple):
    """Weights and biases; also their gradients and velocities."""

    w4: Array  # (D, hidden)
    b4: Array  # (hidden,)
    w5: Array  # (hidden, hidden)
    b5: Array
    w6: Array  # (hidden, 2)
    b6: Array  # (2,)


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent with momentum: v <- momentum v - rate (gradient + decay w), w <- w + v."""

    momentum: float = 0.9
    decay: float = 5e-4


def gaussian_layers(inputs: int, hidden: int, random: np.random.Generator) -> Layers:
    """Fresh Gaussian weights: fc4 and fc5 keep the size of what passes (He et al. 2015), fc6 has a deviation of .01."""

    def layer(fan_in: int, fan_out: int, deviation: float) -> tuple[Array, Array]:
        weights = random.standard_normal((fan_in, fan_out), dtype=np.float32) * np.float32(deviation)
        return weights, np.zeros(fan_out, np.float32)

    w4, b4 = layer(inputs, hidden, math.sqrt(2 / inputs))
    w5, b5 = layer(hidden, hidden, math.sqrt(2 / hidden))
    return Layers(w4, b4, w5, b5, *fresh_fc6(hidden, random))


def fresh_fc6(hidden: int, random: np.random.Generator) -> tuple[Array, Array]:
    """The last layer of a new target (III-E)."""
    return random.standard_normal((hidden, 2), dtype=np.float32) * np.float32(0.01), np.zeros(2, np.float32)


def logits(layers: Layers, rows: Array) -> Array:
    """rows (m, D) -> (m, 2)."""
    hidden = np.maximum(rows @ layers.w4 + layers.b4, 0)
    hidden = np.maximum(hidden @ layers.w5 + layers.b5, 0)
    return hidden @ layers.w6 + layers.b6


def scores(layers: Layers, rows: Array) -> Array:
    """How far each row is the target's rather than the background's, the difference of the two logits: (m,)."""
    found = logits(layers, rows)
    return found[:, 1] - found[:, 0]


def gradients(
    layers: Layers, rows: Array, labels: NDArray[np.intp], masks: tuple[Array, Array] | None = None
) -> tuple[float, Layers]:
    """Mean loss of rows (m, D) with labels (m,) of 0 or 1, and its gradients.

    masks: dropout's, (m, hidden) each, of what fc4 and fc5 answer: 0 where dropped, else 1 / (1 - rate).
    """
    first = np.maximum(rows @ layers.w4 + layers.b4, 0)
    if masks is not None:
        first *= masks[0]
    second = np.maximum(first @ layers.w5 + layers.b5, 0)
    if masks is not None:
        second *= masks[1]
    found = second @ layers.w6 + layers.b6
    found -= found.max(axis=1, keepdims=True)
    log_share = found - np.log(np.exp(found).sum(axis=1, keepdims=True))
    picked = np.arange(len(rows)), labels
    loss = -float(log_share[picked].mean())
    d6 = np.exp(log_share)
    d6[picked] -= 1
    d6[np.abs(d6) < SETTLED] = 0  # else their products are denormal numbers, with which BLAS is several times slower
    d6 /= np.float32(len(rows))
    d5 = d6 @ layers.w6.T
    d5 *= second > 0
    if masks is not None:
        d5 *= masks[1]
    d4 = d5 @ layers.w5.T
    d4 *= first > 0
    if masks is not None:
        d4 *= masks[0]
    return loss, Layers(rows.T @ d4, d4.sum(axis=0), first.T @ d5, d5.sum(axis=0), second.T @ d6, d6.sum(axis=0))


def descend(layers: Layers, velocity: Layers, gradient: Layers, rate: float, sgd: Sgd) -> None:
    """One step of SGD, in place; `gradient` is used up."""
    momentum, step, decay = (np.float32(value) for value in (sgd.momentum, rate, rate * sgd.decay))
    for parts in zip(layers, velocity, gradient, strict=True):
        flat = [part.reshape(-1) for part in parts]
        for start in range(0, flat[0].size, CHUNK):
            weights, speed, change = (part[start : start + CHUNK] for part in flat)
            speed *= momentum
            change *= step
            speed -= change
            speed -= np.multiply(weights, decay, out=change)
            weights += speed


def still(layers: Layers) -> Layers:
    """Velocities of layers at rest."""
    return Layers(*(np.zeros_like(part) for part in layers))
