"""Graphs written without the `onnx` package, read by that package and by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tracker.backbones import onnxruntime_engine
from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions, Projection, projected
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.backbones.onnx_graph import constant, fields, joined, metadata_of, new_model, node, with_outputs
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ModelError

onnx = pytest.importorskip("onnx")
FILE = PACKAGED / "edge-small.onnx"


def options(**changes: bool) -> EngineOptions:
    return EngineOptions(taps=PURPOSES, height=96, width=96, **changes)  # type: ignore[arg-type]


def projections(backbone: Backbone) -> dict[str, Projection]:
    random = np.random.default_rng(0)
    return {
        tap.name: Projection(
            random.normal(size=(tap.channels, 5)).astype(np.float32), random.normal(size=5).astype(np.float32)
        )
        for tap in backbone.info.taps
    }


def crop() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def test_a_new_graph_computes_what_its_nodes_say() -> None:
    weights, shape = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.array([2, -1])
    added = [constant("w", weights), constant("shape", shape), node("MatMul", ["x", "w"], "product")]
    added += [node("Transpose", ["product"], "turned", perm=[1, 0]), node("Reshape", ["turned", "shape"], "y")]
    model = new_model({"x": (3, 6)}, added, ["y"])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], (x @ weights).T.reshape(2, -1), rtol=1e-5)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, -1, -5, 2**40])
def test_numbers_of_any_size_are_attributes(value: int) -> None:
    (read,) = onnx.load_from_string(new_model({}, [node("Any", [], "y", axis=value)], [])).graph.node
    assert read.attribute[0].i == value
    assert read.attribute[0].type == onnx.AttributeProto.INT


def test_a_graph_is_extended_and_the_rest_stays() -> None:
    before = FILE.read_bytes()
    after = onnx.load_from_string(with_outputs(before, [node("Relu", ["stride16"], "r")], ["r"]))
    expected = onnx.load_from_string(before)
    needed = [each for each in expected.graph.node if each.output[0] != "stride8"]  # it alone leads to no other
    assert list(after.graph.node)[:-1] == needed
    assert list(after.graph.initializer) == list(expected.graph.initializer)
    assert [output.name for output in after.graph.output] == ["r"]
    assert after.metadata_props == expected.metadata_props
    assert metadata_of(before) == {entry.key: entry.value for entry in expected.metadata_props}


def test_what_a_tensor_is_joined_of_is_told() -> None:
    added = [node("Concat", ["x", "y"], "both", axis=1), node("Add", ["both", "x"], "sum")]
    model = new_model({"x": (3, 6), "y": (3, 6)}, added, ["sum"])
    assert joined(model, "both") == ["x", "y"]
    assert joined(model, "sum") == ["sum"]
    assert joined(model, "x") == ["x"]


@given(st.binary(max_size=64))
def test_what_is_no_message_is_a_value_error(data: bytes) -> None:
    for start in (b"", FILE.read_bytes()[:200]):
        try:
            assert b"".join(field.whole for field in fields(start + data)) == start + data
            metadata_of(start + data)
        except ValueError:
            pass


@pytest.mark.parametrize("deferred", [False, True])
def test_the_engine_projects_as_numpy_does(deferred: bool) -> None:
    backbone = load_backbone(FILE, options(deferred=deferred))
    assert isinstance(backbone, OnnxRuntimeBackbone)
    wanted = projections(backbone)
    found = projected(backbone, wanted)(crop())
    for values, tap, project in zip(found, backbone(crop()), wanted.values(), strict=True):
        assert values.flags.c_contiguous
        np.testing.assert_allclose(values, project(tap), atol=2e-3 * np.abs(values).max())
    coarse = projected(backbone, {"stride16": wanted["stride16"]})(crop())
    np.testing.assert_array_equal(coarse[0], found[0])


def test_of_a_tap_that_joins_layers_each_is_projected_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which copies less, and gives what one projection of them all does."""
    backbone = load_backbone(FILE, options(deferred=True))
    wanted = projections(backbone)
    assert len(joined(FILE.read_bytes(), "stride16")) == 3
    apart = projected(backbone, wanted)(crop())
    monkeypatch.setattr(onnxruntime_engine, "joined", lambda _, name: [name])
    together = projected(load_backbone(FILE, options(deferred=True)), wanted)(crop())
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


def test_other_engines_taps_are_projected_by_numpy() -> None:
    backbone = load_backbone(FILE, options())
    wanted = projections(backbone)

    class Plain:
        info = backbone.info

        def __call__(self, patch: np.ndarray) -> list[np.ndarray]:
            return backbone(patch)

    (found,) = projected(Plain(), {"stride8": wanted["stride8"]})(crop())
    place = [tap.name for tap in backbone.info.taps].index("stride8")
    np.testing.assert_array_equal(found, wanted["stride8"](backbone(crop())[place]))


def test_a_target_more_costs_no_session() -> None:
    backbone = load_backbone(FILE, options(deferred=True))
    assert projected(backbone, projections(backbone)) is projected(backbone, projections(backbone))
    other = {name: Projection(2 * p.directions, p.offset) for name, p in projections(backbone).items()}
    assert not np.allclose(projected(backbone, other)(crop())[0], projected(backbone, projections(backbone))(crop())[0])


@pytest.mark.parametrize("content", [b"", b"\x0a", b"no model at all", b"<html>"])
def test_a_deferred_file_that_is_no_model_is_told_at_once(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load_backbone(path, options(deferred=True))
