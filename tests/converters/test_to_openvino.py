"""The OpenVINO route from end to end, with random weights; with the real ones where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nncf", reason="needs nncf and openvino (extra 'convert-openvino')")
pytest.importorskip("onnxscript", reason="needs onnxscript (extra 'convert-openvino')")

import openvino

from converters.to_openvino import compact, main
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.cards import ModelCard, files_of
from edge_tracker.backbones.engines import load_backbone

# The deep layers of an untrained network hardly answer, and integers lose them: the cosine is no matter of this test.
ANY_COSINE = ["--min-cosine", "-1"]
NETWORK = ["--model", "mobilenetv3-small", "--random-weights"]


def test_float_and_integers(crops_file: Path, tmp_path: Path) -> None:
    backbones, sizes = {}, {}
    for precision in ("fp32", "int8"):
        output = tmp_path / f"m.{precision}.xml"
        options = ["--precision", precision, "--crops", str(crops_file), "--output", str(output)]
        assert main([*NETWORK, *options, *ANY_COSINE]) == 0
        card = ModelCard.read(output)
        assert card is not None
        assert card.describes(output)
        assert card.failed_gates == ()
        backbones[precision] = load_backbone(output, EngineOptions(taps=PURPOSES))
        sizes[precision] = files_of(output)[1].stat().st_size
        assert backbones[precision].info.precision == precision
    assert sizes["int8"] < 0.45 * sizes["fp32"]
    crop = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    ours, theirs = backbones["int8"](crop)[1], backbones["fp32"](crop)[1]
    assert not np.array_equal(ours, theirs)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9
    assert str(Path.home()).encode() not in output.read_bytes()


@pytest.mark.parametrize("side", [224, 192])
def test_a_tap_not_asked_for_is_not_computed(side: int, tmp_path: Path) -> None:
    output = tmp_path / "m.xml"
    assert main([*NETWORK, "--output", str(output)]) == 0
    options = EngineOptions(taps=PURPOSES, height=side, width=side)
    both, one = load_backbone(output, options), load_backbone(output, replace(options, taps=("localisation",)))
    crop = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    (alone,) = one(crop)
    np.testing.assert_allclose(alone, both(crop)[1], atol=1e-4)


def test_an_unknown_part_to_keep_is_refused(
    crops_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--precision", "int8-mixed", "--crops", str(crops_file), "--keep-float", "block99"]
    assert main([*NETWORK, *options, "--output", str(tmp_path / "m.xml")]) == 2
    assert "block99" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_graph_is_written_compactly_and_means_the_same(tmp_path: Path) -> None:
    output = tmp_path / "m.xml"
    assert main([*NETWORK, "--output", str(output)]) == 0
    again = tmp_path / "again.xml"
    openvino.save_model(openvino.Core().read_model(output), again, compress_to_fp16=False)
    text = again.read_bytes()
    assert compact(text) == compact(compact(text))
    assert output.stat().st_size < 0.6 * len(text)
    assert b"\n" not in output.read_bytes()[100:]
    crop = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    results = []
    for path in (output, again):
        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results.append({port.any_name: values for port, values in compiled([crop]).items()})
    assert results[0].keys() == results[1].keys()
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name])
