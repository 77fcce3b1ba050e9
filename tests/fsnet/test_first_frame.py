"""Views of frame 1: where the target lies in them, and how it is changed."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from edge_tracker.boxes import Box, centre
from edge_tracker.fsnet.first_frame import VIEWS, Change, changed
from edge_tracker.roi import Window

SIDE = 320
BOX: Box = (124.0, 102.0, 72.0, 36.0)


def window_around(box: Box, zoom: float = 1.0) -> Window:
    cx, cy = centre(box)
    side = round(240 * zoom)
    return Window(round(cx - side / 2), round(cy - side / 2), side)


def ellipse_in(change: Change) -> tuple[np.ndarray, Box]:
    """Where a view shows a red ellipse that fills BOX (0 or 255), and the box that the view says."""
    image = np.full((240, 320, 3), 110, np.uint8)
    cv2.ellipse(image, (160, 120), (36, 18), 0, 0, 360, (20, 20, 230), -1, cv2.LINE_AA)
    patch, box = changed(image, BOX, change, window_around, SIDE)
    assert patch.shape == (SIDE, SIDE, 3)
    return np.where(patch[..., 2].astype(int) - patch[..., 1] > 105, 255, 0).astype(np.uint8), box


@pytest.mark.parametrize("change", VIEWS)
def test_the_box_of_every_view_lies_around_the_target(change: Change) -> None:
    shown, box = ellipse_in(change)
    assert cv2.boundingRect(shown) == pytest.approx(box, abs=3)


@pytest.mark.parametrize("angle", [0.5, -0.25])
def test_a_turned_view_shows_the_target_turned(angle: float) -> None:
    m = cv2.moments(ellipse_in(Change(turn=angle))[0], binaryImage=True)
    assert 0.5 * math.atan2(2 * m["mu11"], m["mu20"] - m["mu02"]) == pytest.approx(angle, abs=0.03)


def test_the_target_is_known_turned_to_both_sides_and_of_other_aspect() -> None:
    turns = [change.turn for change in VIEWS]
    assert min(turns) < 0 < max(turns)
    aspects = [box[2] / box[3] for box in (ellipse_in(change)[1] for change in VIEWS if change.stretch)]
    assert min(aspects) < max(aspects) / 1.5
