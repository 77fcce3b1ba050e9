"""How far FSNet believes its box: what is fitted, and from what."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import calibrate_fsnet as script

from edge_tracker.errors import DatasetError
from edge_tracker.fsnet.confidence import Confidence, Weights
from edge_tracker.fsnet.network import NumpyNetwork
from edge_tracker.methods import prepare
from tests.conftest import Clip


def test_a_clip_counts_once_for_right_and_once_for_wrong_however_long_it_is() -> None:
    random = np.random.default_rng(0)
    right = np.repeat([1.0, 0.0], 400)
    rows = np.column_stack([random.normal(2 * right, 1), random.normal(right, 1), right, np.zeros(800)])
    clips = np.tile(np.arange(8), 100)
    weights, line = script.fit(rows, clips, 0.0)
    assert weights.score > weights.colour > 0 > weights.constant
    assert line.startswith("800 boxes, 50% right")
    longer = np.concatenate([rows, np.tile(rows[1:400:8], (20, 1))]), np.concatenate([clips, np.ones(1000)])
    np.testing.assert_allclose(script.fit(*longer, 0.0)[0], weights, atol=0.002)
    assert script.fit(*longer, 1.0)[0].constant > weights.constant + 0.5
    with pytest.raises(DatasetError, match="right"):
        script.fit(rows[:400], clips[:400], 0.0)


class Hidden:
    """The synthetic clip around the frames in which a panel hides the target."""

    name = "hidden"

    def __init__(self, clip: Clip) -> None:
        frames = slice(140, 186)
        self.images, self.boxes = clip.images[frames], clip.boxes[frames].copy()
        self.visible = np.ones(len(self.boxes))
        self.visible[15:35] = 0
        self.init_box = self.boxes[0]

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> np.ndarray:
        return self.images[index]


def test_the_weights_in_use_have_no_say_in_what_is_fitted(whole_clip: Clip) -> None:
    backbone = prepare("fsnet", "edge-small").backbone
    found = []
    for weights in (Weights(0.3, 4.0, -1.0), Weights(-1.0, 0.0, 3.0)):
        witness = script.Witness(NumpyNetwork(backbone), script.PATIENT)
        witness._confidence = Confidence(weights, weights)
        found.append(script.watch(witness, Hidden(whole_clip)))
    assert found[0] == found[1]
    seeking, right = (np.array(found[0])[:, column] == 1 for column in (3, 2))
    assert (~seeking & right).sum() > 8  # followed
    assert 3 <= (~seeking & ~right).sum() <= 13  # the panel, until LOST is said
    assert (seeking & ~right).sum() > 5
