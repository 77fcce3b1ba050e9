"""Pre-trained layers: what comes back from a file, what a target takes of them, files that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_tracker.backbones.base import BackboneInfo, Layer, Tap
from edge_tracker.backbones.companion import Owner
from edge_tracker.errors import ModelError
from edge_tracker.fsnet.confidence import Confidence, Weights
from edge_tracker.fsnet.pretrained import Pretrained, read_pretrained, write_pretrained
from edge_tracker.fsnet.roi_align import CELLS

TAPS = (Tap("deep", 16, (Layer("a", 6),)), Tap("shallow", 8, (Layer("b", 4),), "localisation"))
OWNER = Owner("toy", "0123456789abcdef" * 4)
INFO = BackboneInfo("toy", 64, 64, TAPS, OWNER.fingerprint)
HIDDEN = 8
CONFIDENCE = Confidence(Weights(1.0, 2.0, -3.0), Weights(0.5, 4.0, -5.0))


def pretrained() -> Pretrained:
    random = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, dtype=np.float32)

    w4 = {"deep": weights(CELLS, 6, HIDDEN), "shallow": weights(CELLS, 4, HIDDEN)}
    return Pretrained(OWNER, w4, weights(HIDDEN), weights(HIDDEN, HIDDEN), weights(HIDDEN), CONFIDENCE)


def test_a_file_keeps_the_weights_to_eight_bits(tmp_path: Path) -> None:
    before = pretrained()
    write_pretrained(tmp_path / "f.safetensors", before)
    after = read_pretrained(tmp_path / "f.safetensors", INFO)
    assert (after.owner, after.confidence) == (OWNER, CONFIDENCE)
    assert list(after.w4) == list(before.w4)
    for one, other in zip([*before.w4.values(), before.w5], [*after.w4.values(), after.w5], strict=True):
        steps = np.abs(one).max(axis=tuple(range(one.ndim - 1))) / 127
        assert (np.abs(one - other) <= 0.51 * steps).all()
    np.testing.assert_array_equal(before.b4, after.b4)
    np.testing.assert_array_equal(before.b5, after.b5)


def test_a_target_takes_the_rows_of_its_maps() -> None:
    whole = pretrained()
    channels = [np.array([1, 4]), np.array([3])]
    layers = whole.layers(channels, np.random.default_rng(0))
    assert layers.w4.shape == (CELLS * 3, HIDDEN)
    deep = layers.w4[: CELLS * 2].reshape(CELLS, 2, HIDDEN)
    np.testing.assert_allclose(deep, whole.w4["deep"][:, channels[0]] * np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(layers.w4[CELLS * 2 :], whole.w4["shallow"][:, 3] * 2, rtol=1e-6)
    layers.w5[...] = 0  # a target's own
    layers.b4[...] = 0
    assert whole.w5.any()
    assert whole.b4.any()


def test_one_tap_of_two_can_be_read_alone(tmp_path: Path) -> None:
    write_pretrained(tmp_path / "f.safetensors", pretrained())
    assert list(read_pretrained(tmp_path / "f.safetensors", replace(INFO, taps=TAPS[1:])).w4) == ["shallow"]


def test_other_models_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    write_pretrained(path, pretrained())
    content = path.read_bytes()
    wrong = {
        "another model": replace(INFO, model="other"),
        "other weights": replace(INFO, fingerprint="f" * 64),
        "more taps": replace(INFO, taps=(*TAPS, replace(TAPS[1], name="third"))),
        "other widths": replace(INFO, taps=(TAPS[0], replace(TAPS[1], layers=(Layer("b", 5),)))),
    }
    for info in wrong.values():
        with pytest.raises(ModelError):
            read_pretrained(path, info)
    for damaged in (b"", content[:50], content[:-7], b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            read_pretrained(path, INFO)
    with pytest.raises(ModelError):
        read_pretrained(tmp_path / "absent", INFO)
    broken = replace(pretrained(), b5=np.full(HIDDEN, np.nan, np.float32))
    write_pretrained(path, broken)
    with pytest.raises(ModelError):
        read_pretrained(path, INFO)
