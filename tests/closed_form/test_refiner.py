"""The refinement network against loops, and what frame 1 takes off."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_tracker.boxes import Box, iou, moved_by, scaled
from edge_tracker.closed_form.config import Gain
from edge_tracker.closed_form.first_frame import box_views
from edge_tracker.closed_form.head import Head
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.refinement_network import (
    BINS,
    COARSE,
    COLOUR_SPLIT,
    CONTEXT,
    FINE,
    INNER,
    MASKS,
    PARTS,
    PLACES,
    SHAPES,
    SURE,
    RefinementNetwork,
)
from edge_tracker.closed_form.refiner import (
    LARGEST,
    TURNED_BELOW,
    TURNED_BETTER,
    Correction,
    Refiner,
    colour_grid,
    colours,
)
from edge_tracker.closed_form.view import View
from edge_tracker.grid import Grid
from edge_tracker.roi import Window
from tests.clips import Pose, act
from tests.closed_form.conftest import See

SIDE = 96
GRIDS = Grid(6, 16, 0.0), Grid(12, 8, 0.0)  # coarse, fine
WHOLLY = (1e3, 1e3, 1e3)  # trust
HOME = Pose(160, 120, 52, 40)
BOX: Box = (30.0, 34.0, 64.0, 32.0)  # OpenCV samples at 1/32 of a cell: at this size exactly where it is asked


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {"sharpness": np.float32(7.0)}
    for name, (inputs, outputs) in SHAPES.items():
        found[f"{name}.weight"] = (random.normal(size=(inputs, outputs)) / math.sqrt(inputs)).astype(np.float32)
        found[f"{name}.bias"] = (0.1 * random.normal(size=outputs)).astype(np.float32)
    return found


def view(seed: int, box: Box = BOX) -> tuple[View, Box]:
    random = np.random.default_rng(seed)
    coarse, fine = (random.normal(size=(g.cells, g.cells, d)) for g, d in zip(GRIDS, (COARSE, FINE), strict=True))
    patch = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return View(Window(0, 0, SIDE), patch, coarse.astype(np.float32), fine.astype(np.float32)), box


def refiner(seed: int = 0) -> Refiner:
    return Refiner(RefinementNetwork(tensors(seed)), *GRIDS, WHOLLY)


def bilinear(features: np.ndarray, x: float, y: float) -> np.ndarray:
    last = len(features) - 1
    x, y = min(max(x, 0), last), min(max(y, 0), last)
    i, j = min(int(y), last - 1), min(int(x), last - 1)
    v, u = y - i, x - j
    rows = [features[k, j] * (1 - u) + features[k, j + 1] * u for k in (i, i + 1)]
    return rows[0] * (1 - v) + rows[1] * v


def sampled(looked: View, box: Box, column: int, row: int, bins: int, context: float) -> np.ndarray:
    """What one of bins x bins samples over context x the box holds."""
    x, y, w, h = box

    def at(i: float, j: float) -> tuple[float, float]:
        """Sample i, j, counted from their middles -> pixels."""
        return x + w / 2 + ((i + 0.5) / bins - 0.5) * context * w, y + h / 2 + ((j + 0.5) / bins - 0.5) * context * h

    px, py = at(column, row)
    assert looked.fine is not None
    parts = [bilinear(looked.fine, px / 8, py / 8), bilinear(looked.coarse, px / 16, py / 16)]
    within = [(k + 0.5) / COLOUR_SPLIT - 0.5 for k in range(COLOUR_SPLIT)]
    for down in within:
        for across in within:
            px, py = at(column + across, row + down)
            parts.append(bilinear(colours(looked.patch), (px - 1.5) / 4, (py - 1.5) / 4))
    return np.concatenate(parts)


def by_loops(weights: dict[str, np.ndarray], first: tuple[View, Box], seen: tuple[View, Box]) -> np.ndarray:
    """The five outputs, cell by cell."""

    def linear(name: str, value: np.ndarray) -> np.ndarray:
        return value @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def embedded(looks: tuple[View, Box]) -> list[np.ndarray]:
        cells = []
        for row in range(BINS):
            for column in range(BINS):
                hidden = linear("embed.0", sampled(*looks, column, row, BINS, CONTEXT))
                cells.append(linear("embed.1", np.maximum(hidden, 0)))
        return cells

    def unit(value: np.ndarray) -> np.ndarray:
        return value / np.linalg.norm(value)

    keys, values = [], []
    for cell, mask in zip(embedded(first), MASKS, strict=True):
        keys.append(unit(linear("key", cell)))
        values.append(np.append(linear("value", np.concatenate([cell, mask])), mask[0]))
    maps = []
    for cell, place in zip(embedded(seen), PLACES, strict=True):
        wanted = unit(linear("key", cell))
        likeness = np.array([wanted @ key for key in keys])
        share = np.exp(weights["sharpness"] * likeness)
        matched = np.concatenate([cell, (share / share.sum()) @ np.array(values), [likeness.max()], place])
        maps.append(linear("narrow", matched))
    grid = np.array(maps).reshape(BINS, BINS, -1)
    for name, step in (("convolve.0", 1), ("convolve.1", 2)):
        n = len(grid)
        padded = np.pad(grid, ((1, 1), (1, 1), (0, 0)))
        out = [
            [linear(name, padded[i : i + 3, j : j + 3].reshape(-1)) for j in range(0, n, step)]
            for i in range(0, n, step)
        ]
        grid = np.maximum(np.array(out), 0)
    return linear("head.1", np.maximum(linear("head.0", grid.reshape(-1)), 0))


def test_it_computes_what_the_loops_do() -> None:
    first, seen = view(1), view(3, (24.0, 20.0, 48.0, 32.0))
    found = refiner()
    found.start([first])
    correction = found.predict(*seen)
    expected = by_loops(tensors(), first, seen)
    np.testing.assert_allclose(correction.errors, expected[:4], atol=2e-4)
    assert correction.match == pytest.approx(expected[4] / SURE, abs=2e-4)
    np.testing.assert_allclose(correction.scales, np.exp(expected[5:]), rtol=1e-3)
    found.start([view(4)])  # another target
    assert not np.allclose(found.predict(*seen).errors, expected[:4], atol=1e-2)


def test_what_persists_of_what_is_said_in_frame_1_is_taken_off() -> None:
    """Against the loops: half of the mean over the views of frame 1 but the first."""
    weights, first, others, seen = tensors(), view(1), [view(6), view(7)], view(3, (24.0, 20.0, 48.0, 32.0))
    weights["head.1.bias"][:4] = 0.5, -0.4, 0.3, -0.2  # so that much is said
    found = Refiner(RefinementNetwork(weights), *GRIDS, WHOLLY)
    found.start([first, *others])
    said = np.mean([by_loops(weights, first, other)[:4] for other in others], axis=0)
    assert np.abs(said).min() > 0.02
    expected = by_loops(weights, first, seen)[:4] - 0.5 * said
    np.testing.assert_allclose(found.predict(*seen).errors, expected, atol=2e-4)


def resemblance(weights: dict[str, np.ndarray], first: tuple[View, Box], seen: tuple[View, Box]) -> float:
    """How well the samples in the box find their likes in frame 1, by loops."""

    def keys(looks: tuple[View, Box]) -> list[np.ndarray]:
        found = []
        for row in range(BINS // 4, BINS * 3 // 4):
            for column in range(BINS // 4, BINS * 3 // 4):
                value = sampled(*looks, column, row, BINS, CONTEXT)
                for name in ("embed.0", "embed.1", "key"):
                    value = value @ weights[f"{name}.weight"] + weights[f"{name}.bias"]
                    value = np.maximum(value, 0) if name == "embed.0" else value
                found.append(value / np.linalg.norm(value))
        return found

    known = np.array(keys(first))
    return float(np.mean([(known @ key).max() for key in keys(seen)]))


@pytest.mark.parametrize(
    ("turn", "lift", "better"), [(0, 0.0, True), (5, 0.0, True), (2, -6.0, False), (0, 12.0, False)]
)
def test_of_frame_1_turned_the_turn_that_resembles_most_is_compared(turn: int, lift: float, better: bool) -> None:
    """Against the loops: where the match is low; it is taken if it is plainly better."""
    weights = tensors()
    weights["head.1.weight"][:, 4] *= 400  # so that the views differ plainly
    references, seen = [view(number) for number in range(1, 7)], view(9, (24.0, 20.0, 48.0, 32.0))
    weights["head.1.bias"][4] -= np.mean([by_loops(weights, first, seen)[4] for first in references]) - lift
    matches = [np.clip(by_loops(weights, first, seen)[4] / SURE, -1, 1) for first in references]
    found = Refiner(RefinementNetwork(weights), *GRIDS, WHOLLY)
    found.start(references[:1], references[1:])
    likeness = [resemblance(weights, first, seen) for first in references]
    other = max((n for n in range(6) if n != turn), key=likeness.__getitem__)
    assert better == (matches[turn] < TURNED_BELOW and matches[other] > matches[turn] + TURNED_BETTER)
    best = other if better else turn
    said = found.predict(*seen, turn)
    assert said.turn == best
    assert said.match == pytest.approx(matches[best], abs=2e-3)
    assert found.correct(*seen, turn)[1:] == (said.match, said.turn)
    hopeless = found.predict(*seen, turn, float(matches[turn]) + 0.05)  # then no other is compared
    assert (hopeless.turn, hopeless.match) == (turn, pytest.approx(matches[turn], abs=2e-3))


def test_the_identity_is_the_pooled_embedding_of_the_box_itself() -> None:
    """Against loops over the samples of each box."""
    weights, found = tensors(), refiner()
    looked, _ = view(5)
    boxes: list[Box] = [(20.0, 24.0, 40.0, 30.0), (40.0, 10.0, 24.0, 48.0)]
    for vector, box in zip(found.identify(looked, boxes), boxes, strict=True):
        parts = np.zeros((PARTS, PARTS, 48))
        for row in range(INNER):
            for column in range(INNER):
                samples = sampled(looked, box, column, row, INNER, 1.0)
                hidden = samples @ weights["embed.0.weight"] + weights["embed.0.bias"]
                embedded = np.maximum(hidden, 0) @ weights["embed.1.weight"] + weights["embed.1.bias"]
                parts[row * PARTS // INNER, column * PARTS // INNER] += embedded * (PARTS / INNER) ** 2
        expected = parts.reshape(-1) @ weights["identity.weight"] + weights["identity.bias"]
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=5e-3)  # OpenCV: 1/32 cell


def test_broken_weights_are_refused() -> None:
    good = tensors()
    RefinementNetwork(good)
    wrong = {
        "key.bias": good["key.bias"][:3],
        "head.1.weight": good["head.1.weight"] * np.nan,
        "sharpness": np.float32(0),
    }
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name):
            RefinementNetwork({**good, name: value})
    with pytest.raises(ValueError, match="has the tensors"):
        RefinementNetwork({name: value for name, value in good.items() if name != "sharpness"})


def test_colours_lie_over_the_crop_as_their_grid_says() -> None:
    patch = np.zeros((SIDE, SIDE, 3), np.uint8)
    patch[40:44, 20:24] = 255
    found, grid = colours(patch), colour_grid(SIDE)
    assert found.shape == (grid.cells, grid.cells, 3)
    row, column = divmod(int(found[..., 0].argmax()), grid.cells)
    assert (grid.cell(21.5), grid.cell(41.5)) == (column, row)
    assert (found.min(), found.max()) == (-2, 2)


# With the packaged network


def started(optics: Optics, head: Head, see: See, trust: Gain = WHOLLY) -> tuple[Refiner, list[tuple[View, Box]]]:
    """A refiner that knows frame 1, and the views it was shown."""
    image = act([HOME]).images[0]
    assert head.refinement is not None
    found = Refiner(head.refinement, optics.coarse_grid, optics.fine_grid, trust)
    views = [see(image, HOME.box), *box_views(optics, image, HOME.box, 6, np.random.default_rng(0))]
    found.start(views)
    return found, views


def overlap(a: Box, b: Box) -> float:
    return float(iou(np.array(a), np.array(b)))


@pytest.mark.parametrize("delta", [(0.15, 0.0, 0, 0), (0, -0.15, 0, 0), (0, 0, 0.2, 0.2), (0, 0, -0.2, -0.2)])
def test_a_wrong_box_is_brought_back(
    delta: tuple[float, float, float, float], optics: Optics, head: Head, see: See
) -> None:
    found, views = started(optics, head, see)
    view, right = views[0]
    wrong = moved_by(right, delta)
    assert overlap(found.correct(view, wrong).box, right) > overlap(wrong, right) + 0.05


def test_the_share_that_is_corrected_goes_by_how_sure_the_network_is(
    optics: Optics, head: Head, see: See, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a Kalman filter: all of it where nothing is doubted, half where the doubt is the trust, none without trust;
    of position, size and aspect by themselves."""
    said = Correction(np.array([0.2, 0.0, 0.3, 0.1], np.float32), 1.0, np.array([0.1, 0.1, 0.06, 0.08], np.float32), 0)
    monkeypatch.setattr(Refiner, "predict", lambda *_: said)
    for trust, shares in (
        (WHOLLY, (1, 1, 1)),
        ((0.1, 0.05, 0.1), (0.5, 0.5, 0.5)),
        ((0.0, 0.05, 0.0), (0, 0.5, 0)),
        ((0.0, 0.0, 0.1), (0, 0, 0.5)),
        ((0.0, 0.0, 0.0), (0, 0, 0)),
        ((0.2, 0.0, 0.0), (0.8, 0, 0)),
    ):
        monkeypatch.setattr(Refiner, "start", lambda *_: None)
        found, views = started(optics, head, see, trust)
        view, box = views[0]
        grown, stretched = shares[1] * 0.2, shares[2] * 0.1
        expected = moved_by(box, (shares[0] * 0.2, 0.0, grown + stretched, grown - stretched))
        np.testing.assert_allclose(found.correct(view, box).box, expected, rtol=1e-4)


def test_it_tells_the_target_from_what_is_none(optics: Optics, head: Head, see: See) -> None:
    found, views = started(optics, head, see)
    assert found.correct(*views[0]).match > 0.5
    image, (x, y, w, h) = act([HOME]).images[0], HOME.box
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert found.correct(*see(image, (x + dx * w, y + dy * h, w, h))).match < -0.5
    empty = act([replace(HOME, shown=False)]).images[0]
    places = [(x + dx, y + dy, w, h) for dx in (-60, -30, 0, 30, 60) for dy in (-40, 0, 40)]
    assert np.mean([found.correct(*see(empty, place)).match for place in places]) < -0.1


def test_a_box_that_is_denied_is_hardly_corrected(optics: Optics, head: Head, see: See) -> None:
    """In size and aspect not at all; however large the error it speaks of."""
    found, _ = started(optics, head, see)
    x, y, w, h = HOME.box
    view, box = see(act([HOME]).images[0], (x + w, y, w, h))
    corrected, match, _ = found.correct(view, box)
    assert match < -0.2
    np.testing.assert_allclose(corrected[2:], box[2:], rtol=0.05)


def test_no_correction_is_larger_than_its_bound(optics: Optics, head: Head, see: See) -> None:
    found, views = started(optics, head, see)
    view, right = views[0]
    for factor in (0.3, 0.5, 2.0, 3.0):
        wrong = scaled(right, factor)
        corrected = found.correct(view, wrong).box
        assert np.abs(np.log(np.array(corrected[2:]) / wrong[2:])).max() <= LARGEST + 1e-6


def test_views_for_the_box_lie_around_it(optics: Optics) -> None:
    image = act([HOME]).images[0]
    boxes = np.array([box for _, box in box_views(optics, image, HOME.box, 20, np.random.default_rng(0))])
    centres = boxes[:, :2] + boxes[:, 2:] / 2 - optics.middle_px
    assert (centres.std(axis=0) > 0.02 * optics.side).all()
    assert np.log(boxes[:, 2]).std() > 0.05
