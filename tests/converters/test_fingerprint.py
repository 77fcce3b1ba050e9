"""The fingerprint: of the weights and nothing else, the same on any machine and for every file made of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="conversion needs torch (extra 'convert-onnx')")

from converters.fingerprint import fingerprint, of_graph, of_trunk
from converters.rewrites import fold_batch_norm
from converters.trunks import TRUNKS, Trunk, load_trunk
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.catalogue import HEAD, PACKAGED, WEIGHT_NETWORK
from edge_tracker.backbones.companion import Owner, read_owner

NAME = "mobilenetv3-small"


def trunk() -> Trunk:
    """Random weights and statistics: fresh batch norms would fold to nothing."""
    found = load_trunk(NAME, None)
    generator = torch.Generator().manual_seed(1)
    for module in found.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    return found


def test_it_is_the_sha_256_that_its_description_says() -> None:
    """By hand, for one convolution: shapes, float16 little-endian bytes, digests sorted behind that of the mean."""
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1), np.array([0.1, -0.0], np.float32)
    inner = hashlib.sha256()
    for array in (weight, np.array([0.1, 0.0], np.float32)):
        inner.update(str(array.shape).encode() + array.astype("<f2").tobytes())
    colour = hashlib.sha256(b"(3,)" + np.array([1, 2, 3], "<f2").tobytes())
    expected = hashlib.sha256(colour.digest() + inner.digest()).hexdigest()
    assert fingerprint([(weight, bias)], [np.array([1, 2, 3], np.float32)]) == expected
    Owner("m", expected)  # what files may state


def test_it_changes_with_every_weight_and_with_the_preprocessing() -> None:
    spec = TRUNKS[NAME]
    seen = {of_trunk(trunk(), spec)}
    for key in ("features.0.0.weight", "features.4.block.2.fc1.bias", "features.9.block.0.1.running_var"):
        changed = trunk()
        with torch.no_grad():
            changed.state_dict()[key].view(-1)[0] += 0.25
        seen.add(of_trunk(changed, spec))
    seen.add(of_trunk(trunk(), TRUNKS["mobilenetv3-large-minimalistic"]))  # another mean and deviation
    assert len(seen) == 5


def test_folded_or_not_it_is_the_same() -> None:
    spec = TRUNKS[NAME]
    assert of_trunk(trunk(), spec) == of_trunk(fold_batch_norm(trunk()), spec)


def test_folding_is_what_batch_norm_does() -> None:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for plain, folded in zip(trunk()(x), fold_batch_norm(trunk())(x), strict=True):
            torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("model", sorted(PACKAGED.glob("*.onnx")), ids=lambda path: path.stem)
def test_packaged_models_hold_the_weights_that_they_state(model: Path) -> None:
    card = ModelCard.read(model)
    assert card is not None
    if card.precision.startswith("int8"):
        float_file = ModelCard.read(model.with_name(f"{card.model}.onnx"))
        assert float_file is not None
        assert card.fingerprint == float_file.fingerprint
        return
    assert of_graph(onnx.load(str(model))) == card.fingerprint
    # An integer file is made of the weights that a float file holds, and belongs to the same head.
    assert of_trunk(load_trunk(model.stem, model), TRUNKS[model.stem]) == card.fingerprint


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenetv3-small", "mobilenet_v3_small_features.pt"),
        ("mobilenetv3-large-minimalistic", "mobilenet_v3_large_minimalistic_trunk.npz"),
    ],
)
def test_the_packaged_heads_belong_to_what_users_convert(name: str, file: str, shared: Path) -> None:
    found = of_trunk(load_trunk(name, shared / "weights" / file), TRUNKS[name])
    assert read_owner(PACKAGED / f"{name}{HEAD}", "head").fingerprint == found
    assert read_owner(PACKAGED / f"{name}{WEIGHT_NETWORK}", "weight network").fingerprint == found
