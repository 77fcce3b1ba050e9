"""The filter bank: its file is what its script builds, and its features mean what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.backbones.onnxruntime_engine import OnnxRuntimeBackbone

pytest.importorskip("onnx", reason="the converters need onnx")

from converters.filterbank import BINS, ORIENTATIONS, main


def test_the_packaged_file_is_what_the_script_builds(tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path / "f.onnx")]) == 0
    assert (tmp_path / "f.onnx").read_bytes() == (PACKAGED / "filterbank.onnx").read_bytes()


def test_colour_bins_share_every_pixel_out(filterbank: OnnxRuntimeBackbone) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    (features,) = filterbank(crop)
    np.testing.assert_allclose(features[..., : BINS**3].sum(axis=2), 1, atol=1e-4)


def test_grey_falls_into_the_middle_bins(filterbank: OnnxRuntimeBackbone) -> None:
    (features,) = filterbank(np.full((224, 224, 3), 127, np.uint8))
    histogram = features[7, 7, : BINS**3].reshape(BINS, BINS, BINS)
    assert histogram[2, 2, 2] > 0.95


def test_gradients_tell_their_direction(filterbank: OnnxRuntimeBackbone) -> None:
    ramp = np.repeat(np.arange(224, dtype=np.uint8)[None, :], 224, axis=0)
    (features,) = filterbank(np.repeat(ramp[..., None], 3, axis=2))
    along_x = features[7, 7, BINS**3 : BINS**3 + ORIENTATIONS]
    assert along_x.argmax() == 0  # brighter to the right
    assert along_x[ORIENTATIONS // 2] == pytest.approx(0, abs=1e-6)


def test_an_unwritable_output_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path / "none" / "f.onnx")]) == 2
    assert "cannot write" in capsys.readouterr().err
