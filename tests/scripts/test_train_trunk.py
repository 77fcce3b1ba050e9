"""Training a trunk end to end: what is learned from is what the tracker does; a short run is of use and goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra 'convert-onnx')")
pytest.importorskip("onnx", reason="its files are written by converters/to_onnx.py (extra 'convert-onnx')")

import train_refiner
import train_trunk as script

from edge_tracker import Tracker
from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import iou
from edge_tracker.closed_form import ridge
from edge_tracker.closed_form.config import ClosedFormConfig, PlaceSettings
from edge_tracker.closed_form.head import Head, load_head
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.place import Place
from edge_tracker.closed_form.refiner import colours
from tests.conftest import Clip
from tests.scripts.conftest import HEAD, MODEL, SIDE

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

TAPS = "stride16", "stride8"


@pytest.fixture
def eye(head: Head) -> script.Eye:
    return script.Eye("edge-small", MODEL, head, TAPS)


def test_the_eye_sees_what_the_model_and_its_head_see(
    eye: script.Eye, backbone: Backbone, head: Head, clip: Clip
) -> None:
    picture = np.ascontiguousarray(clip.images[0][:SIDE, :SIDE])
    with torch.no_grad():
        seen = [maps[0].permute(1, 2, 0).numpy() for maps in eye(picture[None])]
    taps = backbone(picture)
    for maps, purpose, channels in zip(seen, ("localisation", "selection"), (script.FINE, script.COARSE), strict=True):
        tap = backbone.info.tap(purpose).name
        expected = head.projections[tap].first(channels)(taps[backbone.info.place_of(purpose)])
        np.testing.assert_allclose(maps, expected, atol=0.02 * abs(expected).max())
    for own, tap, channels in (("coarse", TAPS[0], script.COARSE), ("fine", TAPS[1], script.FINE)):
        np.testing.assert_array_equal(eye.projection(own).directions, head.projections[tap].first(channels).directions)


def test_answers_are_those_of_the_filter() -> None:
    """The dual form gives what `RidgeFilter` gives after frame 1."""
    random = np.random.default_rng(0)
    known, wanted = random.normal(size=(2, 6, 6, 4)).astype(np.float32)
    learned = random.random(36).astype(np.float32)
    filter_ = ridge.RidgeFilter(PlaceSettings().ridge, 0.2, 4)
    filter_.start([(ridge.neighbourhoods(known), learned, 1.0)])
    expected = ridge.neighbourhoods(wanted) @ filter_.weights

    def rows(maps: np.ndarray) -> torch.Tensor:
        return script.neighbourhoods(torch.from_numpy(maps).permute(2, 0, 1)[None])

    answers = script.ridge_answers(rows(known), torch.from_numpy(learned)[None], rows(wanted))
    np.testing.assert_allclose(answers[0].numpy(), expected, atol=2e-3)
    assert abs(expected).max() > 0.2


def test_targets_are_those_of_place(backbone: Backbone, head: Head) -> None:
    place = Place(Optics(backbone, head, ClosedFormConfig()), ClosedFormConfig())
    boxes = np.array([[60.0, 70, 50, 30], [20, 100, 12, 60]])
    found = script.gaussians(train_refiner.grids_of(backbone)[1], boxes)
    for row, box in zip(found, boxes.tolist(), strict=True):
        np.testing.assert_allclose(row.numpy(), place._target_map(tuple(box)), atol=1e-5)


def test_a_loss_is_small_where_the_answer_is_right() -> None:
    target = torch.zeros(2, 9)
    target[:, 4] = 1.0
    right, none = script.answer_loss(target, target)
    wrong, error = script.answer_loss(target.roll(1, 1), target)
    assert (none, error) == (0.0, 2.0)
    assert right < 0.1 < 0.5 < wrong


def test_shifted_views_show_their_boxes_shifted(rendered: Path, eye: script.Eye) -> None:
    looked = script.Looked(rendered, eye, 0)
    views = np.array([0, 5])
    looked.begin(views)
    boxes = looked.box[views]
    shifts = looked.placed(views, boxes) - boxes
    assert not shifts[:, 2:].any()
    assert abs(shifts[:, :2]).min() > 0
    assert abs(shifts).max() <= script.SHIFT_PX
    for view, (right, down) in zip(views, shifts[:, :2].astype(int), strict=True):
        shifted = np.zeros_like(looked.patches[view])
        top, left = max(down, 0), max(right, 0)
        part = np.asarray(looked.patches[view])[max(-down, 0) : SIDE - top, max(-right, 0) : SIDE - left]
        shifted[top : top + part.shape[0], left : left + part.shape[1]] = part
        inside = np.s_[2 + top // 4 : (SIDE + min(down, 0)) // 4 - 2, 2 + left // 4 : (SIDE + min(right, 0)) // 4 - 2]
        small = looked.maps(2, np.array([view]))[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(small[inside], colours(shifted)[inside], atol=0.05)
    looked.begin(views)
    assert (looked.placed(views, boxes) - boxes != shifts).any()


def test_it_learns_goes_on_and_ends_in_a_model_that_tracks(
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clip: Clip,
    capsys: pytest.CaptureFixture[str],
    interrupted: Callable[[ModuleType], AbstractContextManager[None]],
) -> None:
    monkeypatch.setattr(script, "REPORT", 4)
    monkeypatch.setattr(train_refiner, "REPORTED", 2)
    output = tmp_path / "edge-small.onnx"
    options = ["--model", "edge-small", "--scenes", str(rendered), "--head", str(HEAD), "--output", str(output)]
    options += ["--without", "Alpha", "--steps", "8"]
    with interrupted(script):
        assert script.main(options) == 130
    checkpoint = output.with_name(output.name + ".checkpoint")
    assert checkpoint.is_file()
    assert not output.exists()
    assert script.main([*options[:-1], "9"]) == 2
    assert "another training" in capsys.readouterr().err
    assert script.main(options) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in lines] == ["step 8"]
    assert not checkpoint.exists()
    old, new = (load_backbone(path, EngineOptions(taps=PURPOSES)).info for path in (MODEL, output))
    assert old.fingerprint != new.fingerprint  # the trunk has learned
    card, begun = ModelCard.read(output), ModelCard.read(MODEL)
    assert card is not None
    assert card.describes(output)
    assert begun is not None
    assert begun.training is not None
    assert card.training is not None
    then = card.training.command.removeprefix(begun.training.command)
    assert then.startswith("; then python scripts/train_trunk.py --model edge-small --scenes rendered")
    assert str(tmp_path) not in then
    before = load_head(HEAD, old)
    after = load_head(tmp_path / HEAD.name, new)
    for tap in TAPS:
        assert (
            after.projections[tap].directions
            != before.projections[tap].first(after.projections[tap].directions.shape[1]).directions
        ).any()
    assert before.refinement is not None
    assert after.refinement is not None
    assert (after.refinement.tensors["key.weight"] != before.refinement.tensors["key.weight"]).any()
    tracker = Tracker("accurate", str(output))
    tracker.init(clip.images[0], clip.first_box)
    assert iou(np.array(tracker.update(clip.images[1]).box), clip.boxes[1]) > 0.5


def test_the_error_falls(rendered: Path, eye: script.Eye, backbone: Backbone) -> None:
    """Of the same scenes, after twelve steps of the ridge filter's loss alone."""
    looked = script.Looked(rendered, eye, 0)
    grids = train_refiner.grids_of(backbone)
    sampler = train_refiner.Sampler(looked, np.ones(len(looked.kind), np.bool_), grids, 0, 2)
    optimiser = torch.optim.AdamW(eye.parameters(), 3e-4)
    errors = []
    for _ in range(12):
        sampler.random, looked.random = np.random.default_rng(1), np.random.default_rng(2)
        loss, error = script.answer_loss(*script.answers(looked, grids[1], sampler()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(error)
    assert errors[-1] < 0.9 * errors[0]


def test_bad_input_is_told_in_one_line(rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {
        "--model": "edge-small",
        "--scenes": str(rendered),
        "--head": str(HEAD),
        "--output": str(tmp_path / "edge-small.onnx"),
    }
    for name, wrong in (
        ("--scenes", str(tmp_path)),
        ("--head", str(tmp_path / "none.safetensors")),
        ("--output", str(tmp_path / "none" / "x.onnx")),
        ("--output", str(tmp_path / "x.tflite")),
        ("--output", str(tmp_path / "x.onnx")),
    ):
        assert script.main([part for pair in (good | {name: wrong}).items() for part in pair]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
