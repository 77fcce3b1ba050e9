"""What `network.NumpyNetwork` computes, as ONNX graphs on a device: maps, pooled rows, samples and the classifier stay
there from frame to frame; boxes go in, scores come out.

The graphs are made by converters/fsnet_graphs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.devices import Bound, fetch, put
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ConfigError
from edge_tracker.fsnet.classifier import Array, Layers, Sgd, still
from edge_tracker.fsnet.network import DeviceBackbone, Maps, Places, Rows, dropout_masks, grids_of, in_cells
from edge_tracker.fsnet.roi_align import BINS, POINTS
from edge_tracker.fsnet.selection import Chosen
from edge_tracker.grid import bin_centres

GRAPHS = Path(__file__).parent / "graphs"
OLDEST_RUNTIME = (1, 30)  # 1.18 to 1.29 get the losses of the classifier's graphs wrong
UNIT = 1 / 32  # of a cell: to this places are rounded, as the NumPy network's sampling rounds them


class OnnxNetwork:
    """A `network.Network` of one target. All targets of one backbone may share `graphs`."""

    def __init__(
        self,
        backbone: DeviceBackbone,
        graphs: Graphs,
        pooling: str = "align",
        points: int = POINTS,
        dropout: float = 0.0,
        sgd: Sgd | None = None,
        random: np.random.Generator | None = None,
    ) -> None:
        """Raises ConfigError for what has no graph: RoIPool, or another number of points."""
        if pooling != "align" or points != POINTS:
            raise ConfigError(f"on ONNX Runtime, FSNet pools by RoIAlign with {POINTS} points, not {pooling}, {points}")
        self._backbone, self._graphs = backbone, graphs
        self._grids = grids_of(backbone.info)
        self._dropout, self._sgd = dropout, sgd or Sgd()
        self._random = random or np.random.default_rng(0)

    def taps(self, crop: NDArray[np.uint8]) -> list[Array]:
        return [fetch(tap)[0].transpose(1, 2, 0) for tap in self._backbone.on_device(crop)]

    def start(self, chosen: Sequence[Chosen], layers: Layers, capacity: int) -> None:
        device = self._graphs.device
        self._used = [k for k, use in enumerate(chosen) if len(use.channels)]
        self._chosen = {
            k: (put(np.asarray(chosen[k].channels, np.int64), device), put(np.float32(chosen[k].gain), device))
            for k in self._used
        }
        self._layers = {name: put(part, device) for name, part in layers._asdict().items()}
        self._velocity = {f"v_{name}": put(part, device) for name, part in still(layers)._asdict().items()}
        inputs, self._hidden = layers.w4.shape
        self._samples = put(np.zeros((capacity, inputs), np.float32), device)
        self._masks_of_ones: dict[int, Any] = {}
        self.set_regression(np.zeros((inputs, 4), np.float32), np.zeros(4, np.float32))

    def look(self, crop: NDArray[np.uint8]) -> Maps:
        taps = self._backbone.on_device(crop)
        found = []
        for k, (channels, gain) in self._chosen.items():
            inputs = {"maps": taps[k], "channels": channels, "gain": gain}
            found.append(self._graphs("look", inputs)["chosen"])
        return found

    def pool(self, maps: Maps, boxes: NDArray[np.float64]) -> Rows:
        inputs: dict[str, Any] = {}
        for number, (part, k) in enumerate(zip(maps, self._used, strict=True)):
            _, _, height, width = part.shape()
            inputs[f"maps{number}"] = part
            inputs[f"points{number}"] = sampling_points(in_cells(boxes, self._grids[k]), width, height)
        return self._graphs(f"pool{len(self._used)}", inputs)["rows"]

    def fetch(self, rows: Rows) -> Array:
        return fetch(rows)

    def set_regression(self, weights: Array, constants: Array) -> None:
        device = self._graphs.device
        self._regression = {"regression": put(weights, device), "constants": put(constants, device)}

    def judge(self, rows: Rows) -> tuple[Array, Array]:
        found = self._graphs("judge", {"rows": rows, **self._layers, **self._regression})
        return fetch(found["scores"]), fetch(found["deltas"])

    def keep(self, rows: Rows, which: Places, places: Places) -> None:
        if len(which):
            inputs = {"samples": self._samples, "rows": rows, "which": _whole(which), "places": _whole(places)}
            self._samples = self._graphs("keep", inputs)["kept"]

    def score_stored(self, places: Places) -> Array:
        inputs = {"samples": self._samples, "places": _whole(places), **self._layers}
        return fetch(self._graphs("score", inputs)["scores"])

    def step(self, positives: Places, negatives: Places, rate: float) -> float:
        count = len(positives) + len(negatives)
        labels = np.zeros((count, 2), np.float32)
        labels[: len(positives), 1] = labels[len(positives) :, 0] = 1
        mask4, mask5 = self._masks(count)
        values = {"share": 1 / count, "rate": rate, "momentum": self._sgd.momentum, "decay": self._sgd.decay}
        inputs = {
            "samples": self._samples,
            "places": _whole(np.concatenate([positives, negatives])),
            "labels": labels,
            "mask4": mask4,
            "mask5": mask5,
            **{name: np.float32(value) for name, value in values.items()},
            **self._layers,
            **self._velocity,
        }
        found = self._graphs("step", inputs)
        self._layers = {name: found[f"new_{name}"] for name in self._layers}
        self._velocity = {name: found[f"new_{name}"] for name in self._velocity}
        return float(fetch(found["loss"]))

    def layers(self) -> Layers:
        """The classifier as it is now."""
        return Layers(**{name: fetch(value) for name, value in self._layers.items()})

    def _masks(self, count: int) -> tuple[Any, Any]:
        masks = dropout_masks(self._random, count, self._hidden, self._dropout)
        if masks is not None:
            return masks
        if count not in self._masks_of_ones:  # few sizes of a batch exist
            self._masks_of_ones[count] = put(np.ones((count, self._hidden), np.float32), self._graphs.device)
        return self._masks_of_ones[count], self._masks_of_ones[count]


class Graphs:
    """The graphs, loaded on one device when first used."""

    def __init__(self, device: str, threads: int = 1) -> None:
        """Raises ConfigError where ONNX Runtime is too old: it would compute other numbers, and say nothing."""
        version = onnxruntime.__version__
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_RUNTIME:
            wanted = ".".join(map(str, OLDEST_RUNTIME))
            raise ConfigError(f"FSNet on a device needs ONNX Runtime {wanted} or newer, not {version}")
        self.device, self._threads = device, threads
        self._loaded: dict[str, Bound] = {}

    def __call__(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        if name not in self._loaded:
            self._loaded[name] = Bound.load(GRAPHS / f"{name}.onnx", self.device, self._threads)
        return self._loaded[name](inputs)


def sampling_points(boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.float32]:
    """Where max-RoIAlign samples boxes (m, 4) in cells -> (1, 6 m, 6, 2) of x, y, from -1 to 1 over the maps' outer
    edges, as GridSample takes them."""
    steps = bin_centres(BINS * POINTS, 1.0)
    x, y, w, h = boxes.T[..., None]
    side = BINS * POINTS
    points = np.empty((len(boxes), side, side, 2))
    points[..., 0] = (x + w / 2 + steps * w)[:, None]
    points[..., 1] = (y + h / 2 + steps * h)[..., None]
    cells = np.rint(points.astype(np.float32) / UNIT) * UNIT
    return ((2 * cells + 1) / np.array([width, height]) - 1).astype(np.float32).reshape(1, -1, side, 2)


def _whole(places: Places) -> NDArray[np.int64]:
    return np.asarray(places, np.int64)
