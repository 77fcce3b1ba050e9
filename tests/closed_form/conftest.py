"""The packaged network and head, and what they see of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions
from edge_tracker.backbones.catalogue import HEAD, find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import Box
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head, load_head
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.tracker import ClosedFormTracker
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid
from edge_tracker.roi import sample

MODEL = "edge-small"
See = Callable[[NDArray[np.uint8], Box], tuple[View, Box]]


def in_parts(grid: Grid) -> Callable[[View, Sequence[Box]], NDArray[np.float32]]:
    """Describes boxes by the coarse features in 3 x 3 parts of them, as unit vectors: without a network."""

    def describe(view: View, boxes: Sequence[Box]) -> NDArray[np.float32]:
        parts = sample(view.coarse, np.array([grid.box(box) for box in boxes]), 3, 1.0).reshape(len(boxes), -1)
        return np.asarray(parts / np.linalg.norm(parts, axis=1, keepdims=True), np.float32)

    return describe


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """Both taps."""
    side = ClosedFormConfig().input_side
    return load_backbone(find_model(MODEL).path, EngineOptions(taps=PURPOSES, height=side, width=side))


@pytest.fixture(scope="session")
def head(backbone: Backbone) -> Head:
    return load_head(find_model(MODEL).companion(backbone.info, HEAD), backbone.info)


@pytest.fixture(scope="session")
def optics(backbone: Backbone, head: Head) -> Optics:
    return Optics(backbone, head, ClosedFormConfig())


@pytest.fixture(scope="session")
def see(optics: Optics) -> See:
    """Looks around a box (image pixels): the view, and the box in its crop."""

    def look(image: NDArray[np.uint8], box: Box) -> tuple[View, Box]:
        window = optics.window(box)
        view = optics.see(window, optics.crop(image, window))
        return view, view.on_crop(box)

    return look


@pytest.fixture
def tracker_with(backbone: Backbone, head: Head) -> Callable[..., ClosedFormTracker]:
    """Makes a tracker with these settings, and with these logistic weights in place of the fitted ones."""

    def make(config: ClosedFormConfig, weights: tuple[float, ...] | None = None) -> ClosedFormTracker:
        made = head
        if weights is not None:  # of all but the margin, which says nothing then; following and seeking alike
            made = replace(head, presence=np.tile([*weights[:-1], 0.0, weights[-1]], (2, 1)))
        return ClosedFormTracker(backbone, made, config)

    return make
