"""Float-side preparation: each step leaves the taps as they were, and does what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="preparation needs torch (extra 'convert-onnx')")

from torch import Tensor, nn

from converters.rewrites import (
    DEAD,
    CropToTaps,
    SplitHardSwish,
    equalise,
    floor_dead_channels,
    fold_batch_norm,
    fold_dead_squeeze_excite,
    largest,
    normalised,
    pad_channels_last,
    split_hard_activations,
    split_stem,
)
from converters.trunks import TRUNKS, ConvNormActivation, MobileNetV3, SqueezeExcitation, Trunk, load_trunk

NAMES = ("mobilenetv3-small", "mobilenetv3-large", "mobilenetv3-large-minimalistic")
FAITHFUL_DB = 90.0


def trained_like(name: str) -> Trunk:
    """Random weights, but with batch norms, channel ranges and dead parts as training leaves them."""
    trunk = load_trunk(name, None)
    generator = torch.Generator().manual_seed(1)
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.1
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            module.weight = nn.Parameter(torch.exp(torch.randn(module.num_features, generator=generator)))
            module.bias = nn.Parameter(torch.randn(module.num_features, generator=generator) * 0.3)
    assert isinstance(trunk, MobileNetV3)
    dead = next(iter(trunk.features[2].block))[0]
    dead.weight.data[3] = 1e-12 * torch.randn(dead.weight[3].shape, generator=generator)
    return trunk


def crops(trunk_name: str, count: int = 2) -> Tensor:
    images = np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
    return normalised(images, TRUNKS[trunk_name])


def snr_db(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    worst = np.inf
    for a, b in zip(found, expected, strict=True):
        noise = float(((a - b).double() ** 2).sum())
        worst = min(worst, 10 * np.log10(float((b.double() ** 2).sum()) / max(noise, 1e-30)))
    return float(worst)


def kill_squeeze_excite(trunk: Trunk) -> None:
    """Make the first gate's hidden units silent for ever."""
    gate = next(m for m in trunk.modules() if isinstance(m, SqueezeExcitation))
    assert gate.fc1.bias is not None
    gate.fc1.weight.data.zero_()
    gate.fc1.bias.data.fill_(-1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", ["fold", "dead gate", "dead channels", "split", "stem", "equalise", "all"])
def test_the_taps_stay_what_they_were(name: str, step: str) -> None:
    trunk, x = trained_like(name), crops(name)
    if "minimalistic" not in name:
        kill_squeeze_excite(trunk)
    steps: dict[str, Callable[[Trunk], Trunk]] = {
        "fold": fold_batch_norm,
        "dead gate": lambda t: fold_dead_squeeze_excite(fold_batch_norm(t), x),
        "dead channels": lambda t: floor_dead_channels(fold_batch_norm(t)),
        "split": lambda t: split_hard_activations(fold_batch_norm(t)),
        "stem": lambda t: equalise(split_stem(fold_batch_norm(t)), x),
        "equalise": lambda t: equalise(fold_batch_norm(t), x),
        "all": lambda t: pad_channels_last(
            equalise(split_hard_activations(floor_dead_channels(fold_dead_squeeze_excite(fold_batch_norm(t), x))), x)
        ),
    }
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    with torch.no_grad():
        expected = trunk(x)
        found = steps[step](trunk).eval()(x)
    assert snr_db(found, expected) > FAITHFUL_DB
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())  # a copy was changed


def test_batch_norms_are_gone() -> None:
    folded = fold_batch_norm(trained_like("mobilenetv3-small"))
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]


def test_only_a_dead_gate_is_folded() -> None:
    trunk, x = trained_like("mobilenetv3-small"), crops("mobilenetv3-small")
    gates = len([m for m in trunk.modules() if isinstance(m, SqueezeExcitation)])
    kill_squeeze_excite(trunk)
    left = [
        m for m in fold_dead_squeeze_excite(fold_batch_norm(trunk), x).modules() if isinstance(m, SqueezeExcitation)
    ]
    assert len(left) == gates - 1


def test_dead_channels_get_a_scale_that_integers_can_hold() -> None:
    floored = floor_dead_channels(fold_batch_norm(trained_like("mobilenetv3-small")))
    smallest = min(
        float(m.weight.detach().abs().amax((1, 2, 3)).min()) for m in floored.modules() if isinstance(m, nn.Conv2d)
    )
    assert smallest == pytest.approx(DEAD)


def test_no_hard_swish_is_left_whole() -> None:
    split = split_hard_activations(fold_batch_norm(trained_like("mobilenetv3-large")))
    assert not [m for m in split.modules() if isinstance(m, nn.Hardswish | SqueezeExcitation)]


def test_the_split_hard_swish_is_one_for_any_scale() -> None:
    z = torch.linspace(-8, 8, 101).view(1, 1, 1, -1).repeat(1, 4, 1, 1)
    scale = torch.tensor([0.1, 1.0, 7.0, 60.0])
    found = SplitHardSwish(scale)(z / (6 * scale.view(1, -1, 1, 1))) * scale.view(1, -1, 1, 1)
    assert torch.allclose(found, nn.functional.hardswish(z), atol=1e-5)


def test_equalised_channels_have_similar_ranges() -> None:
    x = crops("mobilenetv3-large-minimalistic")
    trunk = fold_batch_norm(trained_like("mobilenetv3-large-minimalistic"))
    untapped = "features.3.block.0"  # an expansion that no tap gives
    assert spread(trunk, x, untapped) > 3
    assert spread(equalise(trunk, x), x, untapped) < 1.01


def test_the_stem_is_equalised_where_its_hard_swish_is_split() -> None:
    x, trunk = crops("mobilenetv3-small"), fold_batch_norm(trained_like("mobilenetv3-small"))
    split = split_stem(trunk)
    assert len([m for m in split.modules() if isinstance(m, SplitHardSwish)]) == 1
    assert spread(equalise(split, x), x, "features.0") < 0.6 * spread(equalise(trunk, x), x, "features.0")


def spread(trunk: Trunk, x: Tensor, layer: str) -> float:
    """The largest range of a layer's living channels over the smallest."""
    ranges = largest(trunk, x, lambda m: isinstance(m, ConvNormActivation))[layer]
    alive = ranges[ranges > 1e-3 * ranges.max()]
    return float(alive.max() / alive.min())


def test_a_wrong_step_would_be_seen() -> None:
    """The measure of these tests is no formality: a tenth of a percent in one layer fails it."""
    trunk, x = trained_like("mobilenetv3-small"), crops("mobilenetv3-small")
    changed = fold_batch_norm(trunk)
    layer = next(m for m in changed.modules() if isinstance(m, nn.Conv2d))
    layer.weight = nn.Parameter(layer.weight * 1.001)
    with torch.no_grad():
        assert snr_db(changed(x), trunk(x)) < FAITHFUL_DB


def test_networks_of_another_kind_come_back_as_they_are() -> None:
    trunk = load_trunk("vgg16", None)
    x = crops("vgg16", 1)
    prepared = equalise(floor_dead_channels(fold_batch_norm(trunk)), x)
    assert all(
        torch.equal(a, b) for a, b in zip(trunk.state_dict().values(), prepared.state_dict().values(), strict=True)
    )


def test_layers_are_the_taps_apart() -> None:
    name = "mobilenetv3-small"
    trunk = load_trunk(name, None)
    images = np.random.default_rng(3).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    with torch.no_grad():
        layers = CropToTaps(trunk, TRUNKS[name], layers=True).eval()(torch.from_numpy(images))
        taps = CropToTaps(trunk, TRUNKS[name]).eval()(torch.from_numpy(images))
    channels = [layer.channels for tap in trunk.taps for layer in tap.layers]
    assert [layer.shape[1] for layer in layers] == channels
    assert torch.equal(torch.cat(layers[:3], dim=1), taps[0])


def test_the_real_weights_stay_faithful(shared: Path) -> None:
    weights = {
        "mobilenetv3-small": "mobilenet_v3_small_features.pt",
        "mobilenetv3-large-minimalistic": "mobilenet_v3_large_minimalistic_trunk.npz",
    }
    for name, file in weights.items():
        trunk, x = load_trunk(name, shared / "weights" / file), crops(name)
        prepared = floor_dead_channels(fold_dead_squeeze_excite(fold_batch_norm(trunk), x))
        prepared = equalise(split_hard_activations(prepared), x)
        with torch.no_grad():
            assert snr_db(prepared(x), trunk(x)) > FAITHFUL_DB
