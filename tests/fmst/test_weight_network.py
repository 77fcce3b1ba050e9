"""The weight network against loops that spell the layers out, and the tensors it refuses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.boxes import iou
from edge_tracker.errors import ConfigError
from edge_tracker.fmst.channel_weights import top_fraction
from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.tracker import FmstTracker
from edge_tracker.fmst.weight_network import WeightNetwork
from tests.conftest import Clip

LAYERS = (5, 7)


def network(form: str, base: str = "top", layers: tuple[int, ...] = LAYERS, scale: float = 0.5) -> WeightNetwork:
    random = np.random.default_rng(3)
    channels = sum(layers)
    ends = [channels, 4, channels] if form == "dense" else [3 + len(layers), 6, 5, 2]
    tensors = {}
    for part in ("positive", "negative") if form == "dense" else ("shared",):
        for number, shape in enumerate(pairwise(ends)):
            tensors[f"{part}.{number}.weight"] = random.normal(0, scale, shape).astype(np.float32)
            tensors[f"{part}.{number}.bias"] = random.normal(0, scale, shape[1]).astype(np.float32)
    return WeightNetwork(form, base, 0.25, 0.5, layers, tensors)


def slow_mlp(net: WeightNetwork, part: str, values: list[float]) -> list[float]:
    number = 0
    while f"{part}.{number}.weight" in net.tensors:
        if number:
            values = [max(v, 0.0) for v in values]
        weight, bias = net.tensors[f"{part}.{number}.weight"], net.tensors[f"{part}.{number}.bias"]
        values = [
            sum(v * float(weight[i, o]) for i, v in enumerate(values)) + float(bias[o]) for o in range(weight.shape[1])
        ]
        number += 1
    return values


def clip6(value: float) -> float:
    return min(max(value, 0.0), 6.0)


@pytest.mark.parametrize("base", ["none", "top"])
def test_the_dense_form_is_two_perceptrons_on_scaled_scores(base: str) -> None:
    net = network("dense", base)
    scores, first = np.random.default_rng(0).normal(0, 40, (2, 12)).astype(np.float32)
    rms = float(np.sqrt(np.mean(scores.astype(float) ** 2)))
    rule = top_fraction(scores, 0.25) * (base == "top")
    positive = [clip6(v + r) for v, r in zip(slow_mlp(net, "positive", list(scores / rms)), rule, strict=True)]
    negative = [clip6(v) for v in slow_mlp(net, "negative", list(-scores / rms))]
    found = net(scores, first)
    np.testing.assert_allclose(found[0], positive, atol=1e-5)
    np.testing.assert_allclose(found[1], negative, atol=1e-5)


@pytest.mark.parametrize("base", ["none", "top"])
def test_the_shared_form_looks_at_one_channel_at_a_time(base: str) -> None:
    net = network("shared", base)
    scores, first = np.random.default_rng(1).normal(0, 40, (2, 12)).astype(np.float32)
    selected = sorted(range(12), key=lambda c: -scores[c])[:3]
    unit = min(float(scores[c]) for c in selected)
    positive, negative = net(scores, first)
    for c in range(12):
        layer = [1.0, 0.0] if c < 5 else [0.0, 1.0]
        units = [float(np.clip(v[c] / unit, -6, 6)) for v in (scores, first)]
        p, n = slow_mlp(net, "shared", [units[0], float(c in selected), units[1], *layer])
        assert positive[c] == pytest.approx(clip6(p + (c in selected) * (base == "top")), abs=1e-5)
        assert negative[c] == pytest.approx(clip6(n), abs=1e-5)


@pytest.mark.parametrize("form", ["dense", "shared"])
def test_weights_do_not_depend_on_the_scale_of_the_scores(form: str) -> None:
    net = network(form)
    scores, first = np.random.default_rng(2).normal(0, 1, (2, 12)).astype(np.float32)
    for a, b in zip(net(scores, first), net(scores * 1000, first * 1000), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("form", ["dense", "shared"])
@pytest.mark.parametrize("scores", [np.zeros(12), np.full(12, -3.0), np.full(12, 1e15)], ids=["zero", "minus", "huge"])
def test_degenerate_scores_give_finite_weights(form: str, scores: np.ndarray) -> None:
    values = scores.astype(np.float32)
    for weights in network(form)(values, values):
        assert np.isfinite(weights).all()
        assert weights.min() >= 0
        assert weights.max() <= 6


@pytest.mark.parametrize("form", ["dense", "shared"])
def test_weights_end_at_0_and_6(form: str) -> None:
    """ReLU6, the paper's, at both ends."""
    scores, first = np.random.default_rng(5).normal(0, 40, (2, 12)).astype(np.float32)
    weights = np.concatenate(network(form, scale=30.0)(scores, first))
    assert weights.min() == 0
    assert weights.max() == 6


def test_a_network_of_zeros_is_the_rule() -> None:
    net = network("shared", scale=0.0)
    scores = np.random.default_rng(4).normal(size=12).astype(np.float32)
    positive, negative = net(scores, scores)
    np.testing.assert_array_equal(positive, top_fraction(scores, 0.25))
    assert not negative.any()


@pytest.mark.parametrize(
    "change",
    [
        {"form": "deep"},
        {"base": "bottom"},
        {"fraction": 0.0},
        {"alpha": -1.0},
        {"alpha": float("nan")},
        {"layers": (5, 6)},
        {"layers": ()},
        {"layers": (12, 0)},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change: dict[str, object]) -> None:
    net = network("dense")
    with pytest.raises(ValueError, match=r"\S"):
        WeightNetwork(**{**{k: getattr(net, k) for k in WeightNetwork.__dataclass_fields__}, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["missing", "surplus", "shape", "bias", "nan", "type", "gap", "scalar"])
def test_tensors_that_lie_are_refused(kind: str) -> None:
    net = network("shared")
    tensors = dict(net.tensors)
    if kind == "missing":
        del tensors["shared.1.bias"]
    elif kind == "surplus":
        tensors["shared.9.weight"] = np.zeros((2, 2), np.float32)
    elif kind == "shape":
        tensors["shared.1.weight"] = np.zeros((7, 5), np.float32)
    elif kind == "bias":
        tensors["shared.1.bias"] = np.zeros(6, np.float32)
    elif kind == "nan":
        tensors["shared.2.bias"] = np.full(2, np.nan, np.float32)
    elif kind == "type":
        tensors["shared.2.bias"] = np.zeros(2, np.float64)
    elif kind == "gap":
        tensors["shared.5.weight"] = tensors.pop("shared.2.weight")
    elif kind == "scalar":
        tensors["shared.0.weight"] = np.float32(1) * np.ones((), np.float32)
    with pytest.raises(ValueError, match=r"\S"):
        WeightNetwork("shared", "top", 0.25, 0.5, LAYERS, tensors)


def layers_of(backbone: OnnxRuntimeBackbone) -> tuple[int, ...]:
    return tuple(layer.channels for layer in backbone.info.taps[0].layers)


def test_a_network_of_zeros_tracks_as_the_rule_does(edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    config = FmstConfig(fraction=0.25)
    boxes = []
    for net in (None, network("shared", layers=layers_of(edge_small), scale=0.0)):
        tracker = FmstTracker(edge_small, config, net)
        tracker.init(clip.images[0], clip.first_box)
        boxes.append([tracker.update(image).box for image in clip.images[1:20]])
    # The negative map is all zero with the network, and left out without: equal but for rounding.
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-3)


@pytest.mark.parametrize("form", ["dense", "shared"])
def test_it_tracks_with_a_network_and_repeats_itself(form: str, edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    net = network(form, layers=layers_of(edge_small), scale=0.05)
    runs = []
    for _ in range(2):
        tracker = FmstTracker(edge_small, FmstConfig(), net)
        tracker.init(clip.images[0], clip.first_box)
        runs.append([tracker.update(image).box for image in clip.images[1:30]])
    np.testing.assert_array_equal(*runs)
    # So small a network of random numbers hardly changes the rule that it is added to, and that follows.
    assert iou(np.array(runs[0]), clip.boxes[1:30]).mean() > 0.5


def test_alpha_of_the_settings_goes_before_that_of_the_network(edge_small: OnnxRuntimeBackbone, clip: Clip) -> None:
    net = network("shared", layers=layers_of(edge_small), scale=0.3)
    boxes = []
    for alpha in (None, 0.5, 0.0):
        tracker = FmstTracker(edge_small, FmstConfig(alpha=alpha), net)
        tracker.init(clip.images[0], clip.first_box)
        boxes.append([tracker.update(image).box for image in clip.images[1:6]])
    assert boxes[0] == boxes[1] != boxes[2]


@pytest.mark.parametrize("config", [FmstConfig(maps="SC"), FmstConfig(layers="sum")], ids=["maps", "layers"])
def test_settings_it_was_not_trained_for_are_refused(config: FmstConfig, edge_small: OnnxRuntimeBackbone) -> None:
    with pytest.raises(ConfigError, match="maps S"):
        FmstTracker(edge_small, config, network("shared", layers=layers_of(edge_small)))
