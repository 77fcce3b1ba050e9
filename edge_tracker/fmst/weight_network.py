"""The weight-vector network (FMST paper, section 4): from channel scores to channel weights, in NumPy.

This module knows arrays only. `weight_files.py` knows the files, and which backbone each network belongs to.
scripts/train_weight_network.py has the training and the same computation in torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_tracker.fmst.channel_weights import top_fraction

FORMS = ("dense", "shared")
PARTS = {"dense": ("positive", "negative"), "shared": ("shared",)}  # the networks of each form
BASES = ("none", "top")
SCORE_LIMIT = 6.0  # limit of the shared form's scores to both sides; in units of the lowest selected score
HIGHEST_WEIGHT = 6.0  # of a channel: the weights end in ReLU6 (section 4)


@dataclass(frozen=True)
class WeightNetwork:
    """Computes the weights w_p of the positive map and w_n of the negative one from averaged scores.

    form "dense", the paper's: scores (C,) -> hidden layer -> weights (C,). One network gives w_p; another gives w_n
    from the scores of the negated target map, -s. Scores are divided by their root mean square, because they grow with
    the map and with the backbone's scale.
    form "shared": one small network for all channels. It sees one channel at a time: its score, whether the rule of
    Eq. 5 selects it, its score in frame 1, and its layer as a one-hot vector. Scores are in units of the lowest
    selected one. Its two outputs are for w_p and w_n.
    base "top": the output is added to the weights of Eq. 5 before ReLU6; a network of zeros is then that rule.

    tensors: "<part>.<layer>.weight" (inputs, outputs) and "<part>.<layer>.bias" (outputs,), float32. A part is
    "positive" or "negative" (dense), or "shared". Hidden layers end in ReLU.
    """

    form: str
    base: str
    fraction: float  # share of the channels that Eq. 5 selects
    alpha: float  # weight of the negative map (Eq. 13), chosen with the network
    layers: tuple[int, ...]  # number of channels of each tapped layer
    tensors: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        """Raises ValueError if the tensors do not fit the form and the layers, or are not finite."""
        if self.form not in FORMS or self.base not in BASES:
            raise ValueError(f"form {self.form!r} with base {self.base!r} is unknown")
        if not (0 < self.fraction <= 1 and 0 <= self.alpha <= 10) or not self.layers or min(self.layers) < 1:
            raise ValueError(f"fraction {self.fraction}, alpha {self.alpha}, layers {self.layers} are out of range")
        ends = (self.channels, self.channels) if self.form == "dense" else (3 + len(self.layers), 2)
        expected = 0
        for part in PARTS[self.form]:
            stack = self.stack(part)
            width = ends[0]
            for weight, bias in stack:
                if weight.ndim != 2 or weight.shape[0] != width or bias.shape != weight.shape[1:]:
                    raise ValueError(f"{part}: a layer of shape {weight.shape} after {width} values")
                width = weight.shape[1]
            if not stack or width != ends[1]:
                raise ValueError(f"{part}: ends in {width} values, not {ends[1]}")
            expected += 2 * len(stack)
        if len(self.tensors) != expected:
            raise ValueError(f"has {len(self.tensors)} tensors, expected {expected}")
        for name, tensor in self.tensors.items():
            if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
                raise ValueError(f"{name} is not finite float32")

    @property
    def channels(self) -> int:
        return sum(self.layers)

    def __call__(
        self, scores: NDArray[np.float32], first: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Averaged scores (C,) and those of frame 1 (C,) -> w_p (C,), w_n (C,), both in [0, 6]."""
        values = self.inputs(scores, first)
        if self.form == "dense":
            scaled, selected = values
            positive, negative = self._forward("positive", scaled), self._forward("negative", -scaled)
        else:
            selected = values[1]
            positive, negative = self._forward("shared", values)
        if self.base == "top":
            positive = positive + selected
        return relu6(positive), relu6(negative)

    def inputs(self, scores: NDArray[np.float32], first: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's inputs: dense (2, C), the scaled scores and 1 where Eq. 5 selects; shared (3 + layers, C)."""
        selected = top_fraction(scores, self.fraction)
        if self.form == "dense":
            return np.stack([scores / max(float(np.sqrt(scores @ scores / len(scores))), 1e-12), selected])
        unit = max(float(scores[selected > 0].min()), 1e-6)
        values = self._template.copy()
        values[0], values[1], values[2] = scores / unit, selected, first / unit
        np.minimum(np.maximum(values[:3], -SCORE_LIMIT, out=values[:3]), SCORE_LIMIT, out=values[:3])
        return values

    @cached_property
    def _template(self) -> NDArray[np.float32]:
        """Inputs of the shared form in which only the one-hot vectors of the layers are filled in: (3 + layers, C)."""
        one_hot = np.repeat(np.eye(len(self.layers), dtype=np.float32), self.layers, axis=1)
        return np.concatenate([np.zeros((3, self.channels), np.float32), one_hot])

    @cached_property
    def _columns(self) -> dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]]:
        """Each network in the form that is applied to columns: weights (outputs, inputs), biases (outputs, 1)."""
        return {
            part: [(np.ascontiguousarray(weight.T), bias[:, None]) for weight, bias in self.stack(part)]
            for part in PARTS[self.form]
        }

    def stack(self, part: str) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Weights (inputs, outputs) and biases (outputs,) of one network, the first layer first."""
        stack: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        while (name := f"{part}.{len(stack)}") + ".weight" in self.tensors and name + ".bias" in self.tensors:
            stack.append((self.tensors[name + ".weight"], self.tensors[name + ".bias"]))
        return stack

    def _forward(self, part: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """values (inputs, n) -> (outputs, n). A vector is one column."""
        columns = values.reshape(len(values), -1)
        for number, (weight, bias) in enumerate(self._columns[part]):
            columns = weight @ (np.maximum(columns, 0, out=columns) if number else columns)
            columns += bias
        return columns.reshape(-1, *values.shape[1:])


def relu6(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """min(max(x, 0), 6)."""
    return np.minimum(np.maximum(values, 0), np.float32(HIGHEST_WEIGHT))
