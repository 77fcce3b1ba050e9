"""The ONNX graphs, on the CPU provider and with its values bound, against NumPy: the path that a GPU takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tracker.backbones import devices
from edge_tracker.backbones.base import PURPOSES, BackboneInfo, EngineOptions, Layer, Tap
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.devices import put
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone
from edge_tracker.backbones.ort import onnxruntime
from edge_tracker.errors import ConfigError
from edge_tracker.fsnet.classifier import gaussian_layers
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.network import NumpyNetwork
from edge_tracker.fsnet.onnx_network import GRAPHS, OLDEST_RUNTIME, Graphs, OnnxNetwork
from edge_tracker.fsnet.roi_align import CELLS
from edge_tracker.fsnet.selection import Chosen
from edge_tracker.fsnet.tracker import FsnetTracker
from edge_tracker.threads import one_thread
from tests.conftest import Clip

OLD = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < OLDEST_RUNTIME
new_enough = pytest.mark.skipif(OLD, reason="FSNet on a device needs a newer ONNX Runtime")
INFO = BackboneInfo(
    "toy",
    320,
    320,
    (Tap("deep", 16, (Layer("a", 40),), "selection", -8.0), Tap("fine", 8, (Layer("b", 24),))),
    "0" * 64,
)
HIDDEN = 32


class ToyBackbone:
    """Maps that depend on the crop."""

    info = INFO

    def __call__(self, crop: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(tap[0].transpose(1, 2, 0)) for tap in self._maps(crop)]

    def on_device(self, crop: np.ndarray) -> list[onnxruntime.OrtValue]:
        return [put(tap, "cpu") for tap in self._maps(crop)]

    def _maps(self, crop: np.ndarray) -> list[np.ndarray]:
        random = np.random.default_rng(int(crop.sum()))
        return [
            random.normal(size=(1, tap.channels, *(side // tap.stride for side in crop.shape[:2]))).astype(np.float32)
            for tap in INFO.taps
        ]


def boxes(count: int) -> np.ndarray:
    random = np.random.default_rng(5)
    return np.concatenate([random.uniform(-60, 300, (count, 2)), random.uniform(4, 160, (count, 2))], axis=1)


def pair(dropout: float = 0.0, channels: tuple[int, int] = (20, 7)) -> tuple[NumpyNetwork, OnnxNetwork]:
    """A network of each kind with the same maps and classifier."""
    random = np.random.default_rng(0)
    chosen = [
        Chosen(np.sort(random.choice(tap.channels, k, replace=False)), gain)
        for tap, k, gain in zip(INFO.taps, channels, (0.5, 2.0), strict=True)
    ]
    made = []
    for kind in (NumpyNetwork, OnnxNetwork):
        backbone = ToyBackbone()
        chance = np.random.default_rng(9)
        if kind is NumpyNetwork:
            network = NumpyNetwork(backbone, dropout=dropout, random=chance)
        else:
            network = OnnxNetwork(backbone, Graphs("cpu"), dropout=dropout, random=chance)
        layers = gaussian_layers(CELLS * sum(channels), HIDDEN, np.random.default_rng(1))
        network.start(chosen, layers, 300)
        made.append(network)
    return made[0], made[1]


CROP = np.full((320, 320, 3), 7, np.uint8)


@new_enough
@pytest.mark.parametrize("channels", [(20, 7), (0, 24), (40, 0)])
@pytest.mark.parametrize("shape", [(320, 320, 3), (160, 480, 3)])
def test_pooled_rows_and_judgement_are_numpys(channels: tuple[int, int], shape: tuple[int, int, int]) -> None:
    networks = pair(channels=channels)
    crop = np.full(shape, 3, np.uint8)
    random = np.random.default_rng(2)
    inputs = CELLS * sum(channels)
    weights, constants = (random.normal(size=s).astype(np.float32) for s in ((inputs, 4), (4,)))
    rows, judged = [], []
    for network in networks:
        network.set_regression(weights, constants)
        pooled = network.pool(network.look(crop), boxes(80))
        rows.append(network.fetch(pooled))
        judged.append(network.judge(pooled))
    assert rows[0].shape == (80, inputs)
    assert np.abs(rows[0]).max() > 1
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-4)
    for one, other in zip(*judged, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4 * max(1.0, float(np.abs(one).max())))


@new_enough
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_samples_are_kept_and_learned_as_in_numpy(dropout: float) -> None:
    numpy_network, onnx_network = pair(dropout)
    losses: list[list[float]] = []
    scores = []
    for network in (numpy_network, onnx_network):
        rows = network.pool(network.look(CROP), boxes(200))
        network.keep(rows, np.arange(200), np.arange(50, 250))
        network.keep(rows, np.array([3, 1]), np.array([0, 299]))
        network.keep(rows, np.array([], np.intp), np.array([], np.intp))
        random = np.random.default_rng(3)
        losses.append([])
        for _ in range(12):
            positives, negatives = random.choice(np.arange(50, 120), 20), random.choice(np.arange(120, 250), 40)
            losses[-1].append(network.step(positives, negatives, 0.01))
        scores.append(network.score_stored(np.array([0, 299, 51, 53, 200])))
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4)
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)
    np.testing.assert_allclose(scores[0][:2], scores[0][[3, 2]], atol=1e-5)  # rows 3 and 1 were stored twice
    for mine, theirs in zip(numpy_network._layers, onnx_network.layers(), strict=True):
        np.testing.assert_allclose(theirs, mine, atol=1e-4)


@new_enough
def test_what_has_no_graph_is_refused() -> None:
    with pytest.raises(ConfigError, match="RoIAlign"):
        OnnxNetwork(ToyBackbone(), Graphs("cpu"), pooling="pool")
    with pytest.raises(ConfigError, match="2 points"):
        OnnxNetwork(ToyBackbone(), Graphs("cpu"), points=3)


@new_enough
def test_the_packaged_graphs_are_those_that_the_converter_writes() -> None:
    pytest.importorskip("onnx")
    from converters.fsnet_graphs import graphs

    made = {f"{name}.onnx": model.SerializeToString(deterministic=True) for name, model in graphs().items()}
    packaged = {path.name: path.read_bytes() for path in Path(GRAPHS).glob("*.onnx")}
    assert packaged == made


@new_enough
def test_onnx_s_own_roi_align_is_another_function() -> None:
    """Why GridSample is used: its "max" is that of the weighted corners, smaller than any interpolated value."""
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node(
        "RoiAlign", ["x", "rois", "batch"], ["y"], mode="max", output_height=1, output_width=1, sampling_ratio=1,
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g",
        [value("x", 1, [1, 1, 4, 4]), value("rois", 1, [1, 4]), value("batch", 7, [1])], [value("y", 1, None)],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {
        "x": np.ones((1, 1, 4, 4), np.float32),
        "rois": np.array([[1, 1, 3, 3]], np.float32),  # its middle lies between four cells
        "batch": np.zeros(1, np.int64),
    }
    assert session.run(None, feed)[0].item() == pytest.approx(0.25)  # of maps that are 1 everywhere


@new_enough
def test_without_a_cuda_provider_it_runs_on_the_cpu_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(devices.log, "disabled", False)  # a library that sets up logging disables what it finds
    caplog.set_level("WARNING", logger=devices.log.name)
    devices.why_no_cuda.cache_clear()
    assert devices.usable("cuda") == "cpu"
    assert len(caplog.records) == 1
    assert "onnxruntime-gpu" in caplog.text
    assert "\n" not in caplog.records[0].getMessage()
    assert devices.usable("cpu") == "cpu"
    assert len(caplog.records) == 1


@new_enough
def test_a_cuda_provider_that_does_not_start_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [devices.CUDA, devices.CPU])
    devices.why_no_cuda.cache_clear()
    reason = devices.why_no_cuda()
    devices.why_no_cuda.cache_clear()
    assert reason.startswith(devices.CUDA)
    assert "does not start" in reason
    assert "cuDNN" in reason


@new_enough
def test_the_whole_tracker_gives_the_same_boxes(clip: Clip) -> None:
    """The packaged backbone, its maps bound from graph to graph as on a GPU."""
    config = FsnetConfig()
    side = config.input_side
    options = EngineOptions("onnxruntime", taps=PURPOSES, height=side, width=side)
    backbone = load_backbone(find_model("edge-small").path, options)
    assert isinstance(backbone, OnnxRuntimeBackbone)
    found = []
    for network in (NumpyNetwork(backbone), OnnxNetwork(backbone, Graphs("cpu"))):
        tracker = FsnetTracker(network, config)
        with one_thread():
            tracker.init(clip.images[0], clip.first_box)
            found.append(np.array([tracker.update(image).box for image in clip.images[1:31]]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    assert np.ptp(found[0][:, 0]) > 20  # it moved


def test_an_old_runtime_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.29.1")
    with pytest.raises(ConfigError, match=r"needs ONNX Runtime 1.30 or newer, not 1.29.1"):
        Graphs("cpu")
