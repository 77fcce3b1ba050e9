"""The README's Python examples run as they are printed, on the synthetic clip."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_tracker.boxes import iou
from edge_tracker.track import Track
from tests.conftest import ROOT, Clip
from tests.docs.commands import FENCED

EXAMPLES = [block for _, language, block in FENCED.findall((ROOT / "README.md").read_text()) if language == "python"]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_the_readme_finds_its_target(example: str, clip: Clip) -> None:
    x, y, w, h = clip.first_box
    names: dict[str, object] = {"image": clip.images[0], "next_image": clip.images[1], "boxes": [clip.first_box] * 2}
    names |= {"x": x, "y": y, "w": w, "h": h}
    exec(example, names)
    found = names["tracks"] if "tracks" in names else [names["track"]]
    assert isinstance(found, list)
    assert len(found) == (2 if "tracks" in names else 1)
    for track in found:
        assert isinstance(track, Track)
        assert iou(np.array([track.box]), clip.boxes[1:2])[0] > 0.8


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 2
    assert any(re.search(r"\bTracker\(\)", example) for example in EXAMPLES)
