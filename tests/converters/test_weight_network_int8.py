"""Weight networks in integers, with small random networks; the routes that are installed."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("torch", reason="needs torch")

from converters import weight_network_int8 as int8
from converters.weight_network import graph_inputs
from edge_tracker.backbones.companion import Owner
from edge_tracker.errors import ModelError
from edge_tracker.fmst.weight_network import WeightNetwork

LAYERS = (6, 10)


def network(form: str, base: str = "top") -> WeightNetwork:
    generator = np.random.default_rng(0)
    ends = {"dense": (16, 16), "shared": (5, 2)}[form]
    tensors = {}
    for part in {"dense": ("positive", "negative"), "shared": ("shared",)}[form]:
        for number, shape in enumerate(((ends[0], 12), (12, ends[1]))):
            tensors[f"{part}.{number}.weight"] = generator.normal(0, 0.6, shape).astype(np.float32)
            tensors[f"{part}.{number}.bias"] = generator.normal(0.3, 0.3, shape[1]).astype(np.float32)
    return WeightNetwork(form, base, 0.2, 0.5, LAYERS, tensors)


def inputs(net: WeightNetwork, count: int = 64, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    first = generator.normal(0, 20, 16).astype(np.float32)
    scores = first + generator.normal(0, 6, (count, 16)).astype(np.float32)
    return np.stack([graph_inputs(net, s.astype(np.float32), first) for s in scores])


def writers() -> list[int8.NetworkWriter]:
    found: list[int8.NetworkWriter] = []
    if importlib.util.find_spec("nncf"):
        from converters.to_openvino import OpenVinoNetworkWriter

        found.append(OpenVinoNetworkWriter())
    if importlib.util.find_spec("litert_torch"):
        from converters.to_tflite import TfliteNetworkWriter

        found.append(TfliteNetworkWriter())
    return found


@pytest.mark.parametrize("form", ["dense", "shared"])
@pytest.mark.parametrize("base", ["none", "top"])
def test_graph_inputs_give_what_the_network_gives(form: str, base: str) -> None:
    net = network(form, base)
    scores, first = np.random.default_rng(2).normal(0, 20, (2, 16)).astype(np.float32)
    for ours, theirs in zip(int8.forward(net, graph_inputs(net, scores, first)), net(scores, first), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.skipif(not writers(), reason="needs nncf (extra 'convert-openvino') or litert-torch ('convert-tflite')")
@pytest.mark.parametrize("form", ["dense", "shared"])
def test_integers_are_near_float(form: str, tmp_path: Path) -> None:
    net = network(form)
    for writer in writers():
        path = tmp_path / f"w{writer.suffix}"
        writer.write(net, Owner("m", "0" * 64), inputs(net), path)
        unseen = inputs(net, 16, seed=5)
        report = int8.measure(writer, net, "m", writer.open(path), unseen, path)
        assert report.frames == 16
        assert min(report.positive_cosine, report.negative_cosine) > 0.95
        assert max(report.positive_cosine, report.negative_cosine) < 1 - 1e-7  # integers they are
        assert min(report.p50_us, report.numpy_p50_us) > 0


def test_what_falls_short_is_refused() -> None:
    good = int8.Report("litert", "m", 16, 0.99, 0.98, 100, 400, 5.0, 9.0, 12, 50.0, 50.5, 78.0, 78.0)
    args = argparse.Namespace(output="w.tflite", min_cosine=0.9, max_drop=1.0)
    int8.judge(good, args)
    for changed, reason in (
        (replace(good, negative_cosine=0.8), "cosine of the weights 0.800"),
        (replace(good, positive_cosine=float("nan")), "cosine"),
        (replace(good, success=49.0), "success falls by 1.5"),
    ):
        with pytest.raises(ModelError, match=reason):
            int8.judge(changed, args)


def test_a_stand_in_gives_what_it_stands_for() -> None:
    net = network("shared")
    scores, first = np.random.default_rng(2).normal(0, 20, (2, 16)).astype(np.float32)
    stand_in = int8.StandIn(net)
    for ours, theirs in zip(stand_in(scores, first), net(scores, first), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(stand_in.seen[0], graph_inputs(net, scores, first))
    assert stand_in.alpha == net.alpha
