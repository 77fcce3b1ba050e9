"""VGG-M: its official file format, its structure against plain torch, and its ONNX file at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tracker import Tracker
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import iou
from edge_tracker.errors import ModelError
from tests.conftest import Clip

torch = pytest.importorskip("torch")
scipy_io = pytest.importorskip("scipy.io")

from converters.matconvnet import CONVOLUTIONS, read_vgg_m
from converters.plan import Network
from converters.rewrites import normalised
from converters.trunks import IMAGENET_MEAN, TRUNKS, load_trunk

MEAN_255 = tuple(255 * m for m in IMAGENET_MEAN)


def layer(kind: str, **fields: object) -> dict[str, object]:
    return {"type": kind, "name": kind, **fields}


def mat_file(path: Path, older: bool = False, mean: object = None, **changes: object) -> dict[str, np.ndarray]:
    """A file in MatConvNet's layout with random weights; gives them as (out, in, h, w) and biases."""
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    layers = []
    for name, shape in CONVOLUTIONS.items():
        filters = (random.normal(size=shape) / np.sqrt(np.prod(shape[:3]))).astype(np.float32)
        biases = random.normal(size=shape[3]).astype(np.float32)
        weights[f"{name}.weight"], weights[f"{name}.bias"] = filters.transpose(3, 2, 0, 1), biases
        if older:
            layers.append(layer("conv", filters=filters, biases=biases))
        else:
            cell = np.empty(2, object)
            cell[:] = [filters, biases]
            layers.append(layer("conv", weights=cell))
        layers.append(layer("relu"))
        layers.append(layer("lrn", param=changes.get("param", np.array([5, 2, 1e-4, 0.75]))))
        layers.append(layer("pool", pool=[3, 3]))
    layers.append(layer("conv", filters=np.zeros((6, 6, 512, 4), np.float32), biases=np.zeros(4, np.float32)))
    layers = layers[: int(str(changes.get("keep", len(layers))))]
    cells = np.empty(len(layers), object)
    cells[:] = layers
    top: dict[str, object] = {"layers": cells}
    if mean is not None:
        normalisation = {"normalization": {"averageImage": mean}}
        top |= normalisation if older else {"meta": normalisation}
    scipy_io.savemat(str(path), top if older else {"net": top})
    return weights


@pytest.mark.parametrize("older", [False, True])
def test_the_official_layout_is_read(tmp_path: Path, older: bool) -> None:
    weights = mat_file(tmp_path / "imagenet-vgg-m.mat", older)
    state = read_vgg_m(tmp_path / "imagenet-vgg-m.mat", MEAN_255)
    assert set(state) == set(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(state[name].numpy(), value)
    trunk = load_trunk("vgg-m", tmp_path / "imagenet-vgg-m.mat")
    np.testing.assert_array_equal(trunk.state_dict()["features.4.weight"].numpy(), weights["features.4.weight"])


@pytest.mark.parametrize("image", [False, True])
def test_another_mean_goes_into_the_first_bias(tmp_path: Path, image: bool) -> None:
    mean = np.array([120.0, 110.0, 100.0], np.float32)
    stated = np.tile(mean, (4, 4, 1)) if image else mean
    weights = mat_file(tmp_path / "vgg.mat", mean=stated)
    state = read_vgg_m(tmp_path / "vgg.mat", MEAN_255)
    pixels = torch.full((1, 3, 7, 7), 130.0)

    def first(weight: torch.Tensor, bias: torch.Tensor, less: tuple[float, ...]) -> torch.Tensor:
        return torch.nn.functional.conv2d(pixels - torch.tensor(less).view(1, 3, 1, 1), weight, bias)

    expected = first(*(torch.from_numpy(weights[f"features.0.{k}"].copy()) for k in ("weight", "bias")), tuple(mean))
    found = first(state["features.0.weight"], state["features.0.bias"], MEAN_255)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-3)


def test_what_is_no_vgg_m_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file, not really")
    with pytest.raises(ModelError):
        read_vgg_m(path, MEAN_255)
    scipy_io.savemat(str(path), {"something": np.zeros(3)})
    with pytest.raises(ModelError, match="layers"):
        read_vgg_m(path, MEAN_255)
    mat_file(path, keep=5)
    with pytest.raises(ModelError, match="convolutions"):
        read_vgg_m(path, MEAN_255)
    mat_file(path, param=np.array([5, 1, 2e-5, 0.75]))
    with pytest.raises(ModelError, match="normalises"):
        read_vgg_m(path, MEAN_255)
    mat_file(path, mean=np.float32(118.0))
    with pytest.raises(ModelError, match="mean"):
        read_vgg_m(path, MEAN_255)


def test_response_norm_is_matconvnets() -> None:
    from converters.trunks import ResponseNorm

    x = 30 * torch.randn(1, 9, 2, 2, generator=torch.Generator().manual_seed(0))
    found = ResponseNorm()(x)
    for channel in range(9):
        near = x[:, max(0, channel - 2) : channel + 3]
        expected = x[:, channel] / (2 + 1e-4 * near.square().sum(1)) ** 0.75
        np.testing.assert_allclose(found[:, channel].numpy(), expected.numpy(), rtol=1e-5)


def test_cells_are_centred_where_the_tap_says() -> None:
    """A point of light answers in the cell whose centre it lies on, and equally to both sides of it."""
    trunk = TRUNKS["vgg-m"].build().eval()
    for module in trunk.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1e-3)
            torch.nn.init.zeros_(module.bias)
    assert [(tap.stride, tap.channels) for tap in trunk.taps] == [(16, 512), (8, 256)]
    for index, tap in enumerate(trunk.taps):
        x = torch.zeros(1, 3, 160, 160)
        cell = 5
        centre = int(tap.stride * cell + tap.stride / 2 + tap.receptive_offset_px)
        x[:, :, centre, centre] = 1000
        with torch.no_grad():
            answer = trunk(x)[index][0].mean(0)
        assert answer.shape == (160 // tap.stride, 160 // tap.stride)
        around = answer[cell - 2 : cell + 3, cell - 2 : cell + 3]
        np.testing.assert_allclose(around, around.flip(0), rtol=1e-4)
        np.testing.assert_allclose(around, around.flip(1), rtol=1e-4)
        assert answer[cell, cell] == answer.max()


def test_a_window_gives_the_same_as_the_whole_image_where_both_see_enough() -> None:
    trunk = TRUNKS["vgg-m"].build().eval()
    x = torch.randn(1, 3, 320, 480, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = trunk(x)[0]
        part = trunk(x[:, :, 64:288, 96:416])[0]  # from cell (4, 6) on
    inside = part[:, :, 3:-3, 3:-3]
    np.testing.assert_allclose(inside.numpy(), whole[:, :, 7:15, 9:23].numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [(96, 160), (320, 64)])
def test_the_onnx_file_is_torchs_at_any_size(onnx_file: Path, size: tuple[int, int]) -> None:
    backbone = load_backbone(onnx_file, EngineOptions("onnxruntime", taps=PURPOSES, height=size[0], width=size[1]))
    crop = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = backbone(crop)
    with torch.no_grad():
        expected = load_trunk("vgg-m", None)(normalised(crop[None], TRUNKS["vgg-m"]))
    for one, other, tap in zip(found, expected, backbone.info.taps, strict=True):
        assert one.shape == (size[0] // tap.stride, size[1] // tap.stride, tap.channels)
        np.testing.assert_allclose(one.transpose(2, 0, 1), other[0].numpy(), atol=1e-4 * float(other.abs().max()))


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from converters.to_onnx import export

    model = export(Network("vgg-m", load_trunk("vgg-m", None), TRUNKS["vgg-m"]))
    assert "LRN" in {node.op_type for node in model.graph.node}  # one operator, not the five that torch makes of it
    path = tmp_path_factory.mktemp("vgg-m") / "vgg-m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("layers", ["both", "deep"])
def test_fsnet_tracks_on_it(onnx_file: Path, clip: Clip, layers: str) -> None:
    """Random convolutions tell enough to follow a disc for a few frames."""
    tracker = Tracker("fsnet", onnx_file, settings=[f"maps.layers={layers}", "maps.count=64"])
    tracker.init(clip.images[0], clip.first_box)
    tracks = [tracker.update(image) for image in clip.images[1:6]]
    assert iou(np.array([track.box for track in tracks]), clip.boxes[1:6]).mean() > 0.4
