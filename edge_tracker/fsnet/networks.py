"""Which network a backbone's maps go into: that of the device it runs on."""

from __future__ import annotations

import functools

import numpy as np

from edge_tracker.backbones.base import Backbone
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.network import Network, NumpyNetwork
from edge_tracker.fsnet.onnx_network import Graphs, OnnxNetwork


def network_for(backbone: Backbone, config: FsnetConfig) -> Network:
    """A fresh target's network: on the processor NumPy's, on another device ONNX graphs beside the backbone's maps.

    Raises ConfigError for settings that the device has no graph for.
    """
    maps, dropout = config.maps, config.tuning.dropout
    random = np.random.default_rng([config.seed, 1])  # of dropout
    if isinstance(backbone, OnnxRuntimeBackbone) and backbone.device != "cpu":
        return OnnxNetwork(backbone, _graphs(backbone.device), maps.pooling, maps.points, dropout, random=random)
    return NumpyNetwork(backbone, maps.pooling, maps.points, dropout, random=random)


@functools.cache
def _graphs(device: str) -> Graphs:
    """Shared by all targets, which take turns."""
    return Graphs(device)
