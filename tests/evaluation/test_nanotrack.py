"""The NanoTrack runner, on networks small enough to know what they answer, and on the real ones where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tracker.boxes import iou
from edge_tracker.errors import ModelError
from edge_tracker.evaluation.nanotrack import NanoTrack
from edge_tracker.evaluation.peers import find_peers
from tests.conftest import Clip

REACH = 24.0  # distance from each point to the sides of its box, crop px


@pytest.fixture(scope="module", params=[15, 16])
def networks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A backbone that takes every 16th pixel's green, and a head whose score is that and whose boxes are all alike."""
    onnx = pytest.importorskip("onnx", reason="the networks are made with onnx")
    from onnx import TensorProto, helper, numpy_helper

    grid = request.param
    folder = tmp_path_factory.mktemp(f"nano{grid}")

    def save(name: str, nodes: list, inputs: dict, outputs: dict, constants: dict) -> Path:
        def values(of: dict) -> list:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in of.items()]

        initial = [numpy_helper.from_array(array, key) for key, array in constants.items()]
        graph = helper.make_graph(nodes, name, values(inputs), values(outputs), initial)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, folder / f"{name}.onnx")
        return folder / f"{name}.onnx"

    weight = np.zeros((1, 3, 1, 1), np.float32)
    weight[0, 1] = 1 / 16
    backbone = save(
        "backbone",
        [helper.make_node("Conv", ["image", "weight"], ["features"], strides=[16, 16], kernel_shape=[1, 1])],
        {"image": [1, 3, 255, 255]},
        {"features": [1, 1, 16, 16]},
        {"weight": weight},
    )
    head = save(
        "head",
        [
            helper.make_node("Slice", ["search", "from", "to", "axes"], ["inner"]),
            helper.make_node("Mul", ["inner", "zero"], ["nothing"]),
            helper.make_node("ReduceSum", ["template"], ["total"], keepdims=0),
            helper.make_node("Mul", ["total", "zero"], ["unused"]),
            helper.make_node("Add", ["inner", "unused"], ["target"]),
            helper.make_node("Concat", ["nothing", "target"], ["scores"], axis=1),
            helper.make_node("Identity", ["reach"], ["distances"]),
        ],
        {"template": [1, 1, 8, 8], "search": [1, 1, 16, 16]},
        {"scores": [1, 2, grid, grid], "distances": [1, 4, grid, grid]},
        {
            "from": np.array([16 - grid] * 2),
            "to": np.array([16, 16]),
            "axes": np.array([2, 3]),
            "zero": np.zeros((), np.float32),
            "reach": np.full((1, 4, grid, grid), REACH, np.float32),
        },
    )
    return backbone, head


def spot(x: int, y: int) -> np.ndarray:
    """A green square of 20 px with its centre at (x, y) on black."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[y - 10 : y + 10, x - 10 : x + 10, 1] = 255
    return image


def test_it_follows_the_point_with_the_best_score(networks: tuple[Path, Path]) -> None:
    tracker = NanoTrack(*networks)
    tracker.init(spot(160, 120), (150, 110, 20, 20))
    # The score is the same all over the spot, so the centre lies somewhere on it, give or take half a point's 5 px.
    for x in (160, 166, 172, 178, 184):
        track = tracker.update(spot(x, 120))
        assert track.box[0] + track.box[2] / 2 == pytest.approx(x, abs=12.5)
        assert track.box[1] + track.box[3] / 2 == pytest.approx(120, abs=12.5)
        assert track.confidence > 0.99


def test_the_size_goes_towards_what_the_head_says(networks: tuple[Path, Path]) -> None:
    tracker = NanoTrack(*networks)
    tracker.init(spot(160, 120), (150, 110, 20, 20))
    said = 2 * REACH * 40 / 127  # px of the image, 15.1
    sizes = [20.0] + [tracker.update(spot(160, 120)).box[2] for _ in range(2)]
    assert said < sizes[2] < sizes[1] < 20
    # The penalty of a size changed by a factor r is exp(-0.138 (r - 1)), the score is all but 1.
    rate = np.exp(-0.138 * (20 / said - 1)) * 0.348
    assert sizes[1] == pytest.approx(20 * (1 - rate) + said * rate, rel=1e-3)


def test_the_box_stays_in_the_frame(networks: tuple[Path, Path]) -> None:
    tracker = NanoTrack(*networks)
    tracker.init(spot(12, 12), (2, 2, 20, 20))
    for _ in range(5):
        x, y, w, h = tracker.update(np.zeros((240, 320, 3), np.uint8)).box
        assert 0 <= x + w / 2 <= 320
        assert 0 <= y + h / 2 <= 240
        assert min(w, h) >= 10


def test_files_that_are_no_such_network_are_refused(tmp_path: Path, networks: tuple[Path, Path]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nonsense")
    for pair in ((broken, networks[1]), (networks[0], broken), (networks[0], networks[0])):
        with pytest.raises(ModelError):
            NanoTrack(*pair)


@pytest.mark.parametrize("name", ["NanoTrack v1", "NanoTrack v2", "NanoTrack v3", "ViT"])
def test_the_real_peers_track(name: str, shared: Path, clip: Clip) -> None:
    tracker = find_peers(shared / "weights" / "peers")[name]()
    tracker.init(clip.images[0], clip.first_box)
    boxes = np.array([tracker.update(image).box for image in clip.images[1:60]])
    assert iou(boxes, clip.boxes[1:60]).mean() > 0.6
