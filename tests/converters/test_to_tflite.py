"""The TFLite route from end to end, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("litert_torch", reason="needs litert-torch (extra 'convert-tflite')")
pytest.importorskip("ai_edge_quantizer", reason="needs ai-edge-quantizer (extra 'convert-tflite')")

import torch
from ai_edge_litert.interpreter import Interpreter

from calibration.crops import Crops
from converters import tflite_graph
from converters.fingerprint import of_trunk
from converters.plan import Network, Plan
from converters.rewrites import normalised
from converters.to_tflite import export, main, prepare
from converters.trunks import TRUNKS, load_trunk
from edge_tracker import Tracker
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.errors import ModelError
from tests.conftest import Clip

NAME = "mobilenetv3-small"
# The deep layers of an untrained network hardly answer, and integers lose them: the cosine is no matter of this test.
ANY_COSINE = ["--min-cosine", "-1"]
NETWORK = ["--model", NAME, "--random-weights"]


@pytest.fixture(scope="module")
def files(crops_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tflite")
    found = {}
    for precision in ("fp32", "int8", "int8-mixed"):
        found[precision] = folder / f"{NAME}.{precision}.tflite"
        options = ["--precision", precision, "--crops", str(crops_file), "--output", str(found[precision])]
        assert main([*NETWORK, *options, *ANY_COSINE]) == 0
    return found


@pytest.mark.parametrize("side", [224, 192])
def test_float_equals_torch(side: int, files: dict[str, Path]) -> None:
    crop = np.random.default_rng(9).integers(0, 256, (side, side, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = load_trunk(NAME, None)(normalised(crop[None], TRUNKS[NAME]))
    backbone = load_backbone(files["fp32"], EngineOptions(taps=PURPOSES, height=side, width=side))
    for found, tap in zip(backbone(crop), expected, strict=True):
        reference = tap[0].permute(1, 2, 0).numpy()
        assert found.dtype == np.float32
        assert np.abs(found - reference).max() < 1e-4 * np.abs(reference).max()


def test_int8_is_integers_throughout(files: dict[str, Path]) -> None:
    interpreter = Interpreter(str(files["int8"]))
    details = interpreter.get_input_details() + interpreter.get_output_details()
    assert {d["dtype"] for d in details} == {np.int8}
    assert not tflite_graph.operations(files["int8"].read_bytes())[1]


def test_mixed_keeps_the_named_parts_alone_in_float(files: dict[str, Path]) -> None:
    _, _, names = tflite_graph.operations(files["int8-mixed"].read_bytes())
    assert {name.split(".")[0] for name in names if "." in name} == {"stem", "block1"}


def test_every_file_is_one_partition_and_knows_itself(files: dict[str, Path]) -> None:
    for precision, path in files.items():
        assert tflite_graph.partitions(path) == 1
        info = load_backbone(path, EngineOptions(taps=PURPOSES)).info
        card = ModelCard.read(path)
        assert card is not None
        assert info.precision == precision
        assert info.fingerprint == card.fingerprint == of_trunk(load_trunk(NAME, None), TRUNKS[NAME])
        assert card.describes(path)
        assert card.failed_gates == ()


def test_integers_are_near_float_and_mixed_nearer(files: dict[str, Path], clip: Clip) -> None:
    patch, options = clip.images[100][8:232, 40:264], EngineOptions(taps=PURPOSES)
    taps = {p: load_backbone(path, options)(patch) for p, path in files.items()}
    full, int8, mixed = (taps[p][1] for p in ("fp32", "int8", "int8-mixed"))
    errors = [float(((t - full) ** 2).sum() / (full**2).sum()) for t in (int8, mixed)]
    assert errors[1] < errors[0] < 0.02


def test_earlier_features_stay_what_they_were(files: dict[str, Path]) -> None:
    backbone = load_backbone(files["int8"])
    (first,) = backbone(np.zeros((224, 224, 3), np.uint8))
    copy = first.copy()
    backbone(np.full((224, 224, 3), 200, np.uint8))
    np.testing.assert_array_equal(first, copy)


def test_it_tracks_the_same_twice_and_with_two_threads(files: dict[str, Path], clip: Clip) -> None:
    runs = []
    for threads in (1, 1, 2):
        tracker = Tracker("fmst", files["int8"], threads=threads)
        tracker.init(clip.images[0], clip.first_box)
        runs.append([tracker.update(image).box for image in clip.images[1:6]])
    assert runs[0] == runs[1] == runs[2]


def test_what_it_states_must_be_true(files: dict[str, Path], tmp_path: Path) -> None:
    info = load_backbone(files["int8"], EngineOptions(taps=PURPOSES)).info
    model = tflite_graph.pack(tflite_graph.unpack(files["int8"].read_bytes()))
    for old, new in (('"block6", "channels": 240', '"block6", "channels": 241'), ('"block6"', '"block7"')):
        path = tmp_path / "lies.tflite"
        text = info.to_metadata().replace(old, new)
        assert text != info.to_metadata()
        path.write_bytes(tflite_graph.with_metadata(model, text))
        with pytest.raises(ModelError, match=r"lies\.tflite"):
            load_backbone(path)


def test_biases_are_corrected(files: dict[str, Path], crops_file: Path) -> None:
    """Spoiled on purpose and corrected again: the means of the last layer come back."""
    crops = Crops.load(crops_file).calibration
    spoiled = tflite_graph.unpack(files["int8"].read_bytes())
    graph = spoiled.subgraphs[0]
    op = next(o for o in graph.operators if tflite_graph.operator(spoiled, o) == "CONV_2D")
    bias = graph.tensors[op.inputs[2]]
    buffer = spoiled.buffers[bias.buffer]
    values = np.frombuffer(bytes(buffer.data), np.int32) + np.round(0.5 / np.array(bias.quantization.scale))
    buffer.data = np.frombuffer(values.astype(np.int32).tobytes(), np.uint8)
    before = tflite_graph.pack(spoiled)
    plan = Plan("int8", crops)
    network = Network(NAME, load_trunk(NAME, None), TRUNKS[NAME])
    reference = export(network, prepare(network, plan), torch.float32)
    after = tflite_graph.correct_biases(before, reference, crops)
    path = files["int8"].with_name("spoiled.tflite")
    errors = []
    text = load_backbone(files["int8"], EngineOptions(taps=PURPOSES)).info.to_metadata()
    (_, full) = load_backbone(files["fp32"], EngineOptions(taps=PURPOSES))(crops[0])
    for model in (before, after):
        path.write_bytes(tflite_graph.with_metadata(model, text))
        (_, found) = load_backbone(path, EngineOptions(taps=PURPOSES))(crops[0])
        errors.append(float(((found - full) ** 2).sum()))
    assert errors[1] < 0.5 * errors[0]


def test_the_same_weights_give_the_same_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    again = tmp_path / "again.tflite"
    assert main([*NETWORK, "--output", str(again)]) == 0
    assert again.read_bytes() == files["fp32"].read_bytes()
    assert str(Path.home()).encode() not in again.read_bytes()


def test_an_unknown_part_to_keep_is_refused(
    crops_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--precision", "int8-mixed", "--crops", str(crops_file), "--keep-float", "block99"]
    assert main([*NETWORK, *options, "--output", str(tmp_path / "m.tflite")]) == 2
    assert "block99" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
