"""Training of weight networks: torch repeats the tracker's steps, pairs are what they say, a run ends in a file."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra 'convert')")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import train_weight_network as script
import weight_objectives as objectives
from weight_pairs import _key, load_pairs

from edge_tracker import FmstConfig, Tracker
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.boxes import iou
from edge_tracker.errors import DatasetError, EdgeTrackerError, ModelError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.fmst import candidates, prediction_map, target_map
from edge_tracker.fmst.channel_scores import channel_scores
from edge_tracker.fmst.tracker import PREDICTION_SIDE
from edge_tracker.roi import crop, window_around
from tests.conftest import Clip
from tests.jobs.conftest import Cluster, cluster

__all__ = ["cluster"]  # a fixture of another room

RANDOM = np.random.default_rng(0)
PREVIOUS, TRUTH = (4.2, 3.7, 5.0, 4.0), (4.9, 4.1, 4.6, 4.4)


def batch(channels: int = 9) -> objectives.Batch:
    def tensor(values: object) -> torch.Tensor:
        return torch.tensor(np.array(values), dtype=torch.float32)

    scores, first = RANDOM.normal(size=(2, 1, channels))
    features = RANDOM.uniform(size=(1, 196, channels))
    return objectives.Batch(tensor(features), tensor([PREVIOUS]), tensor([TRUTH]), tensor(scores), tensor(first), 14)


def test_the_prediction_is_that_of_the_tracker() -> None:
    b = batch()
    weights = RANDOM.uniform(size=(2, 9)).astype(np.float32)
    features = b.features[0].numpy().reshape(14, 14, 9)
    maps = [prediction_map.normalise(prediction_map.prediction_map(features, w)) for w in weights]
    expected = prediction_map.subtract_negative(maps[0], maps[1], 0.4)
    expected = prediction_map.sum_maps([prediction_map.resample(expected, PREDICTION_SIDE)])
    found = objectives.prediction(b, tuple(torch.from_numpy(weights)[:, None]), 0.4)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_confidences_are_those_of_the_tracker() -> None:
    values = RANDOM.uniform(size=(28, 28)).astype(np.float32)
    boxes = candidates.draw_candidates((8.0, 9.0, 10.0, 8.0), RANDOM, 50, 0.6, 0.1, 1.0)
    scores = candidates.candidate_scores(values, boxes, 0.2)
    expected = candidates.candidate_confidences(scores, boxes, (8.0, 9.0, 10.0, 8.0), 14.0)
    previous = torch.tensor([[8.0, 9.0, 10.0, 8.0]])
    found = objectives.confidences(torch.from_numpy(values)[None], torch.from_numpy(boxes).float()[None], previous, 0.2)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-3)


def test_areas_and_overlaps_are_those_of_the_tracker() -> None:
    boxes = torch.tensor([PREVIOUS, TRUTH])
    for box, found in zip((PREVIOUS, TRUTH), objectives.target_map_s(boxes, 14), strict=True):
        np.testing.assert_allclose(found.reshape(14, 14), target_map.target_map("S", box, (14, 14)), atol=1e-5)
    found = objectives.overlaps(boxes[:1, None], boxes[1:])
    assert float(found) == pytest.approx(float(iou(np.array(PREVIOUS), np.array(TRUTH))), abs=1e-5)


def test_the_papers_loss_is_equation_16() -> None:
    b = batch()
    weights = RANDOM.uniform(size=(2, 9)).astype(np.float32)
    target = target_map.target_map("S", TRUTH, (14, 14)).ravel()
    positive, negative = ((b.features[0].numpy() @ w) @ target for w in weights)
    found = objectives.paper(
        b, tuple(torch.from_numpy(weights)[:, None]), objectives.ObjectiveSettings(), torch.Generator()
    )
    assert float(found) == pytest.approx(-(positive - negative), rel=1e-3)


@pytest.mark.parametrize("name", ["overlap", "margin", "squares", "paper-normalised", "paper"])
def test_a_map_of_the_target_is_better_than_one_beside_it(name: str) -> None:
    areas = objectives.coverage(torch.tensor([TRUTH, (0.5, 0.5, 4.6, 4.4)]), 14).flatten(1)
    losses = []
    for positive, negative in ((0, 1), (1, 0)):
        features = torch.stack([areas[positive], areas[negative]], 1)[None]
        b = objectives.Batch(
            features, torch.tensor([PREVIOUS]), torch.tensor([TRUTH]), torch.zeros(1, 2), torch.zeros(1, 2), 14
        )
        weights = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        chance = torch.Generator().manual_seed(0)
        losses.append(float(objectives.OBJECTIVES[name](b, weights, objectives.ObjectiveSettings(), chance)))
    assert losses[0] < losses[1] - 0.05


@pytest.mark.parametrize(("form", "base"), [("dense", "none"), ("dense", "top"), ("shared", "top")])
def test_numpy_repeats_torch(form: str, base: str) -> None:
    torch.manual_seed(0)
    net = script.Net(script.Recipe(form=form, base=base, hidden=7), (5, 4))
    for parameter in net.parameters():  # as they will be stored
        parameter.data = parameter.data.half().float()
    scores, first = RANDOM.normal(0, 30, (2, 9)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(scores)[None], torch.from_numpy(first)[None])
    for found, e in zip(net.export()(scores, first), expected, strict=True):
        np.testing.assert_allclose(found, e[0].numpy(), atol=1e-5)


def test_consecutive_pairs_are_the_papers(
    otb_folder: Path, edge_small: OnnxRuntimeBackbone, tmp_path: Path, clip: Clip
) -> None:
    tasks = read_tasks(otb_folder)
    pairs = load_pairs(tmp_path, edge_small, tasks, "consecutive", 1, 0)
    assert [len(p) for p in pairs] == [11, 11, 9]  # the hidden row costs the pair before and the one after it
    config = FmstConfig()
    for k in (0, 7):
        x, y, w, h = tasks[0].boxes[k].tolist()
        window = window_around((x, y, w, h), config.roi_scale)
        features = edge_small(crop(clip.images[k], window, edge_small.info.input_side))[0]
        box = window.to_grid(tasks[0].boxes[k], features.shape[0])
        scores = channel_scores(features, target_map.target_map("S", tuple(box), features.shape[:2]))
        np.testing.assert_allclose(pairs[0].scores[k], scores, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(pairs[0].previous[k], box, atol=1e-4)
        later = edge_small(crop(clip.images[k + 1], window, edge_small.info.input_side))[0]
        np.testing.assert_allclose(pairs[0].features[k], later, rtol=2e-3, atol=2e-3)


def stated(backbone: OnnxRuntimeBackbone, trunk: str) -> SimpleNamespace:
    """The backbone with another fingerprint."""
    return SimpleNamespace(info=replace(backbone.info, fingerprint=trunk))


def test_pairs_are_made_once(otb_folder: Path, edge_small: OnnxRuntimeBackbone, tmp_path: Path) -> None:
    tasks = read_tasks(otb_folder)
    first = load_pairs(tmp_path, edge_small, tasks, "rollout", 2, 0)
    assert all(len(p) > 5 for p in first)
    again = load_pairs(tmp_path, edge_small, tasks, "rollout", 2, 0)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.features, b.features)
    assert len(list(tmp_path.iterdir())) == 3
    load_pairs(tmp_path, edge_small, tasks, "rollout", 2, 1)
    assert len(list(tmp_path.iterdir())) == 6
    # Another network of the same name has pairs of its own.
    keys = {_key(stated(edge_small, trunk), tasks[0], "rollout", 2, 0) for trunk in ("1" * 64, "2" * 64)}
    assert len(keys) == 2
    next(tmp_path.iterdir()).write_bytes(b"no pairs")
    with pytest.raises(DatasetError, match="cannot read the cached pairs"):
        for seed in (0, 1):
            load_pairs(tmp_path, edge_small, tasks, "rollout", 2, seed)


def test_related_sequences_stay_on_one_side() -> None:
    names = ["bike1", "bike2", "car", "dog_1", "dog_2", "dog3", "ball", "Jogging.1", "Jogging.2"]
    found = script.folds(names, 3)
    assert sorted(i for fold in found for i in fold) == list(range(9))
    side = {names[i]: number for number, fold in enumerate(found) for i in fold}
    assert side["bike1"] == side["bike2"]
    assert side["dog_1"] == side["dog_2"] == side["dog3"]
    assert side["Jogging.1"] == side["Jogging.2"]


def test_one_command_makes_a_network_that_tracks(
    otb_folder: Path, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str], cluster: Cluster
) -> None:
    output = tmp_path / "net.safetensors"
    arguments = ["--model", "edge-small", "--data", str(otb_folder), "--cache", str(tmp_path / "cache")]
    arguments += ["--output", str(output), "--steps", "3", "--epochs", "2", "--batch", "4"]
    assert script.main(arguments) == 0
    assert "| 2 |" in capsys.readouterr().out
    assert not output.with_name(output.name + ".checkpoint").exists()
    tracker = Tracker("fmst-net", "edge-small", weight_network=output)
    tracker.init(clip.images[0], clip.first_box)
    assert iou(np.array(tracker.update(clip.images[1]).box), clip.boxes[1]) > 0.5
    first = output.read_bytes()
    assert script.main(arguments) == 0
    assert output.read_bytes() == first
    assert script.main([*arguments, "--recipe", "paper", "--hidden", "4", "--steps", "5", "--epochs", "1"]) == 0
    for copy in ("Gamma", "Delta"):
        shutil.copytree(otb_folder / "Alpha", tmp_path / "data" / copy)
        shutil.copytree(otb_folder / "Alpha", tmp_path / "data" / f"{copy}ray")
    arguments[3] = str(tmp_path / "data")
    assert script.main([*arguments, "--cross-validate", "2", "--seeds", "1", "--alphas", "0", "0.5"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| edge-small")]
    assert len(rows) == 2
    # the same on the workers of a cluster, to which the trained network goes with the model
    assert script.main([*arguments, "--cross-validate", "2", "--seeds", "1", "--cluster", cluster.address]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| edge-small")]
    assert script.main([*arguments, "--cross-validate", "2", "--seeds", "1"]) == 0
    assert row in capsys.readouterr().out.splitlines()


def test_an_interrupted_training_goes_on(
    otb_folder: Path, edge_small: OnnxRuntimeBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = load_pairs(tmp_path, edge_small, read_tasks(otb_folder), "rollout", 1, 0)
    recipe, layers = script.Recipe(steps=2, epochs=3, batch=4), script.selection_layers(edge_small.info)
    checkpoint, original, calls = tmp_path / "checkpoint", script.validate, []

    def fails_the_second_time(*args: object) -> float:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(script, "validate", fails_the_second_time)
    with pytest.raises(KeyboardInterrupt):
        script.train(recipe, layers, pairs[:2], pairs[2:], 0, checkpoint)
    _, curve = script.train(recipe, layers, pairs[:2], pairs[2:], 0, checkpoint)
    assert len(curve) == 3
    assert len(calls) == 4  # one epoch was kept, one repeated
    with pytest.raises(EdgeTrackerError, match=r"another training \(seed\)"):
        script.train(recipe, layers, pairs[:2], pairs[2:], 1, checkpoint)
    with pytest.raises(ModelError, match=r"another training \(fingerprint\)"):
        script.train(recipe, layers, pairs[:2], pairs[2:], 0, checkpoint, "1" * 64)
    good = checkpoint.read_bytes()
    for bad in (b"", good[:-500], b"no checkpoint", b"PK" + good[2:200]):
        checkpoint.write_bytes(bad)
        with pytest.raises(ModelError, match="delete it to begin anew") as caught:
            script.train(recipe, layers, pairs[:2], pairs[2:], 0, checkpoint)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [["--hidden", "0"], ["--sequences", "1"], ["--model", "vgg16"], ["--data", "nowhere"], ["--cross-validate", "9"]],
    ids=" ".join,
)
def test_bad_arguments_are_one_line(
    extra: list[str], otb_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "edge-small", "--data", str(otb_folder), "--cache", str(tmp_path)]
    assert script.main([*arguments, "--output", str(tmp_path / "x.safetensors"), *extra]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("train_weight_network: ")
    assert "\n" not in error
