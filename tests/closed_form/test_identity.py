"""The target among its look-alikes: galleries, and a margin that tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker.backbones.base import PURPOSES
from edge_tracker.backbones.catalogue import HEAD, find_companion, find_model, load_backbone
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import load_head
from edge_tracker.closed_form.identity import OTHERS, Gallery, Identity
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.view import View
from edge_tracker.roi import Window


def unit(seed: int, size: int = 8) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_a_gallery_keeps_what_is_new_and_freshens_what_is_not() -> None:
    gallery = Gallery(3, unit(0))
    assert gallery.best(unit(0)) == -np.inf
    gallery.add(unit(0), 1.0, kept=True)
    for seed in (1, 2):
        gallery.add(unit(seed), 1.0)
    gallery.add(unit(1), 1.0)  # seen again: 2 is the oldest now
    gallery.add(-unit(0), 1.0)
    assert gallery.best(unit(0)) == pytest.approx(1)
    assert gallery.best(unit(1)) == pytest.approx(1)
    assert gallery.best(unit(2)) < 1
    for seed in range(10, 20):
        gallery.add(unit(seed), 1.0)
    assert gallery.best(unit(0)) == pytest.approx(1)  # the first stays


@pytest.fixture(scope="module")
def optics() -> Optics:
    config = ClosedFormConfig()
    backbone = load_backbone(find_model("edge-small"), purposes=PURPOSES, side=config.input_side)
    return Optics(backbone, load_head(find_companion("edge-small", HEAD), backbone.info), config)


def two_things(optics: Optics, light: float = 1.0) -> View:
    """A red and blue thing at the left, a green and blue one of the same shape at the right."""
    patch = np.full((192, 192, 3), 90, np.uint8)
    patch[70:120, 20:60], patch[120:140, 20:60] = (40, 40, 200), (200, 60, 60)
    patch[70:120, 120:160], patch[120:140, 120:160] = (40, 200, 40), (200, 60, 60)
    return optics.see(Window(0, 0, 192), (patch * light).astype(np.uint8))


def test_what_was_seen_beside_the_target_is_not_the_target(optics: Optics) -> None:
    left, right = (20.0, 70.0, 40.0, 70.0), (120.0, 70.0, 40.0, 70.0)
    view, later = two_things(optics), two_things(optics, 0.9)
    identity = Identity(view, left, optics, None)
    target, other = identity.describe(later, [left, right])
    assert identity.unlikeness(target, target) == pytest.approx(0, abs=1e-4)
    assert identity.unlikeness(target, other) > 1
    before = identity.margin(other)
    assert before > 3  # nothing is known against it
    identity.is_other(identity.describe(view, [right]))
    assert identity.margin(other) < 0 < identity.margin(target)
    identity.is_target(other)  # what became the target's own look is the target
    assert identity.margin(other) > identity.margin(target) - 9
    assert OTHERS > 1
