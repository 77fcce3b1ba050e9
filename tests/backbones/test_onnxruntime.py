"""The ONNX Runtime engine, and files it must refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tracker.backbones.base import METADATA_KEY, PURPOSES, BackboneInfo, EngineOptions, Layer, Tap
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.devices import why_no_cuda
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.errors import ConfigError, ModelError
from tests.conftest import restated

onnx = pytest.importorskip("onnx", reason="making broken model files needs onnx")

PACKAGED_MODEL = PACKAGED / "edge-small.onnx"
TRUNK = "0" * 64


def test_features_have_the_stated_shape(edge_small: OnnxRuntimeBackbone) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    (features,) = edge_small(crop)
    (tap,) = edge_small.info.taps
    assert features.shape == (14, 14, tap.channels)
    assert features.dtype == np.float32
    assert tap.stride == 16


def test_the_crop_may_have_another_side() -> None:
    side = 160
    backbone = load_backbone(PACKAGED_MODEL, EngineOptions("onnxruntime", taps=PURPOSES, height=side, width=side))
    assert backbone.info.input_side == side
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    for features, tap in zip(backbone(crop), backbone.info.taps, strict=True):
        assert features.shape == (side // tap.stride, side // tap.stride, tap.channels)


@pytest.mark.parametrize("size", [(96, 160), (320, 240)])
def test_the_crop_need_not_be_square(size: tuple[int, int]) -> None:
    height, width = size
    backbone = load_backbone(PACKAGED_MODEL, EngineOptions(taps=PURPOSES, height=height, width=width))
    assert (backbone.info.height, backbone.info.width) == size
    with pytest.raises(ConfigError, match=f"{height} x {width} px, not for squares"):
        _ = backbone.info.input_side
    crop = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for features, tap in zip(backbone(crop), backbone.info.taps, strict=True):
        assert features.shape == (height // tap.stride, width // tap.stride, tap.channels)


def test_taps_come_in_the_order_asked_for_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    model = onnx.load(str(PACKAGED_MODEL))
    stated = json.loads(model.metadata_props[0].value)
    stated["taps"] = stated["taps"][::-1]
    model.metadata_props[0].value = json.dumps(stated)
    outputs = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.save(model, str(tmp_path / "m.onnx"))
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    for purposes in (PURPOSES, PURPOSES[::-1]):
        there, here = (load_backbone(p, EngineOptions(taps=purposes)) for p in (PACKAGED_MODEL, tmp_path / "m.onnx"))
        assert here.info == there.info
        assert [tap.purpose for tap in here.info.taps] == list(purposes)
        for ours, theirs in zip(here(crop), there(crop), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_purpose_without_a_tap_is_refused_in_words_for_users(tmp_path: Path) -> None:
    path = restated(tmp_path / "m.onnx", '"purpose": "localisation"', '"purpose": "selection"')
    with pytest.raises(ModelError, match="no tap for localisation, only for selection: convert the model again"):
        load_backbone(path, EngineOptions(taps=PURPOSES))
    with pytest.raises(ModelError, match="has 2 taps for selection"):
        load_backbone(path, EngineOptions(taps=("selection",))).info.tap("selection")


def test_without_a_gpu_cuda_is_one_line_and_the_processor(caplog: pytest.LogCaptureFixture) -> None:
    if not why_no_cuda():
        pytest.skip("there is a CUDA device")
    backbone = load_backbone(PACKAGED_MODEL, EngineOptions(device="cuda"))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("running on the processor: ")
    assert "\n" not in said
    assert backbone(np.zeros((224, 224, 3), np.uint8))[0].shape == (14, 14, 672)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"threads": 1.5},
        {"height": 0},
        {"width": 1 << 20},
        {"device": "tpu"},
        {"taps": ()},
        {"taps": ("selection", "selection")},
        {"taps": ("everything",)},
        {"engine": 3},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EngineOptions(**options)


def test_a_side_that_the_strides_do_not_divide_is_refused() -> None:
    with pytest.raises(ModelError, match="multiple of 16 px, not 224 x 100"):
        load_backbone(PACKAGED_MODEL, EngineOptions(width=100))


def test_a_file_of_one_side_alone_is_refused_at_another(tmp_path: Path) -> None:
    model = onnx.load(str(PACKAGED_MODEL))
    for dim in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        dim.dim_value = 224
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    assert load_backbone(tmp_path / "fixed.onnx").info.input_side == 224
    with pytest.raises(ModelError, match=r"fixed\.onnx takes .*not one uint8 crop \[1, 192, 192, 3\]"):
        load_backbone(tmp_path / "fixed.onnx", EngineOptions(height=192, width=192))


def test_info_survives_the_metadata() -> None:
    info = BackboneInfo(
        "m",
        224,
        160,
        (Tap("a", 8, (Layer("x", 3), Layer("y", 4)), "localisation", -8.0), Tap("b", 16, (Layer("z", 5),))),
        TRUNK,
    )
    assert BackboneInfo.from_metadata({METADATA_KEY: info.to_metadata()}, "m.onnx") == info
    assert info.taps[0].channels == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "{}",
        f'{{"model": "m", "height": 224, "width": 224, "fingerprint": "{TRUNK}", "taps": []}}',
        "[1]",
    ],
)
def test_metadata_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="m.onnx"):
        BackboneInfo.from_metadata({METADATA_KEY: text}, "m.onnx")


def broken(tmp_path: Path, change: str) -> Path:
    """A copy of the packaged model with one thing wrong."""
    path = tmp_path / "broken.onnx"
    data = PACKAGED_MODEL.read_bytes()
    if change == "empty":
        path.write_bytes(b"")
    elif change == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif change == "text":
        path.write_text("this is no model")
    else:
        model = onnx.load_from_string(data)
        if change == "no metadata":
            del model.metadata_props[:]
        elif change == "other output":
            (maker,) = (node for node in model.graph.node if model.graph.output[0].name in node.output)
            model.graph.output[0].name = maker.output[0] = "something"
        elif change == "other channels":
            text = model.metadata_props[0].value
            model.metadata_props[0].value = text.replace('"block6", "channels": 240', '"block6", "channels": 239')
            assert model.metadata_props[0].value != text
        elif change == "float input":
            model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    "change", ["empty", "truncated", "text", "no metadata", "other output", "other channels", "float input"]
)
def test_a_file_that_cannot_serve_is_refused_in_one_line(change: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"broken\.onnx") as caught:
        load_backbone(broken(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load_backbone(tmp_path / "none.onnx")
