"""What is learned from frame 1: samples of changed views of it, and the box regression."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre, deltas, iou, turned
from edge_tracker.fsnet import samples
from edge_tracker.fsnet.box_regression import ridge_regression
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.network import Network
from edge_tracker.roi import Window, affine, crop


class Change(NamedTuple):
    """Of a view of frame 1."""

    right: float = 0.0  # shift, in sides of the box
    down: float = 0.0
    zoom: float = 1.0
    mirrored: bool = False
    blur_px: float = 0.0  # crop pixels
    turn: float = 0.0  # radians
    stretch: float = 0.0  # log aspect


VIEWS = (
    Change(),
    Change(right=0.5, down=0.3),
    Change(right=-0.4, down=-0.5, zoom=1.1),
    Change(zoom=0.9, mirrored=True),
    Change(right=0.3, down=-0.4, mirrored=True),
    Change(right=-0.3, down=0.4, blur_px=1.5),
    Change(right=0.2, turn=0.5),
    Change(down=-0.2, turn=-0.5),
    Change(turn=0.25, stretch=0.3),
    Change(turn=-0.25, stretch=-0.3),
)
VIEW_POSITIVES, VIEW_NEGATIVES, VIEW_BOXES = 40, 160, 48  # samples of each; the last are the box regression's
REGRESSED_IOU = 0.6  # of the boxes that the box regression learns from


class WindowAround(Protocol):
    def __call__(self, box: Box, zoom: float = 1.0) -> Window: ...


def learn_views(
    network: Network,
    image: NDArray[np.uint8],
    box: Box,
    window_around: WindowAround,
    memory: samples.Memory,
    config: FsnetConfig,
    random: np.random.Generator,
) -> None:
    """Fill the memory's part of frame 1, and fit the box regression."""
    side = config.input_side
    positives, negatives = memory.places_of_first()
    rows, errors = [], []
    for number, change in enumerate(VIEWS):
        patch, on_crop = changed(image, box, change, window_around, side)
        maps = network.look(patch)
        boxes = samples.drawn(on_crop, VIEW_POSITIVES, VIEW_NEGATIVES, (0.0, 0.0, float(side), float(side)), random)
        pooled = network.pool(maps, boxes)
        which = np.arange(len(boxes))
        network.keep(pooled, which[:VIEW_POSITIVES], positives[number * VIEW_POSITIVES :][:VIEW_POSITIVES])
        network.keep(pooled, which[VIEW_POSITIVES:], negatives[number * VIEW_NEGATIVES :][:VIEW_NEGATIVES])
        boxes = samples.jittered(on_crop, 4 * VIEW_BOXES, 0.12, 0.13, random)
        boxes = boxes[iou(boxes, np.array(on_crop)) > REGRESSED_IOU][:VIEW_BOXES]
        rows.append(network.fetch(network.pool(maps, boxes)))
        errors.append(deltas(boxes, np.array(on_crop)))
    network.set_regression(*ridge_regression(np.concatenate(rows), np.concatenate(errors), config.box_ridge))


def changed(
    image: NDArray[np.uint8], box: Box, change: Change, window_around: WindowAround, side: int
) -> tuple[NDArray[np.uint8], Box]:
    """A view (side, side, 3) of frame 1, and the box in its pixels."""
    x, y, w, h = box
    window = window_around((x + change.right * w, y + change.down * h, w, h), change.zoom)
    patch = crop(image, window, side)
    k = side / window.side
    left, top, wide, high = (x - window.x) * k, (y - window.y) * k, w * k, h * k
    if change.turn or change.stretch:
        middle = np.array(centre((left, top, wide, high))) - 0.5  # OpenCV counts from the middle of the first pixel
        matrix = affine(change.turn, 1.0, change.stretch, middle, middle)
        patch = np.asarray(cv2.warpAffine(patch, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        left, top, wide, high = turned((left, top, wide, high), change.turn, change.stretch)
    if change.mirrored:
        patch, left = np.ascontiguousarray(patch[:, ::-1]), side - left - wide
    if change.blur_px:
        patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), change.blur_px), np.uint8)
    return patch, (left, top, wide, high)
