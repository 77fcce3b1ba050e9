"""Float-side preparation that every writer shares: the same network in a form that quantises well.

Each step takes a trunk and returns a changed copy whose taps are what they were, but for float rounding. Why these
steps: docs/quantisation.md. Knows torch; knows nothing of file formats or engines.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from converters.trunks import ConvNormActivation, InvertedResidual, MobileNetV3, SqueezeExcitation, Trunk, TrunkSpec

M = TypeVar("M", bound=nn.Module)

# An absolute floor: one relative to the other channels would touch weights that matter.
DEAD = 1e-5
# Channels are brought to one range, but none by more than this factor: what hardly ever answers stays small.
LARGEST_SCALE = 64.0


class CropToTaps(nn.Module):
    """A trunk behind its preprocessing: uint8 or float (N, S, S, 3) BGR in 0..255 -> taps, or every layer by itself.

    Scale and colour order go into the first convolution; the mean is subtracted before it, because the
    convolution's zero padding must mean "mean colour", as it did in training.
    """

    mean_bgr: Tensor

    def __init__(self, trunk: Trunk, spec: TrunkSpec, layers: bool = False) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        self.give_layers = layers
        stem = next(m for m in self.trunk.modules() if isinstance(m, nn.Conv2d))
        std = torch.tensor(spec.std).view(1, 3, 1, 1) * 255
        stem.weight = nn.Parameter((stem.weight.double() / std.double()).float().flip(1))
        mean = torch.tensor(spec.mean, dtype=torch.float64).flip(0).view(1, 3, 1, 1) * 255
        self.register_buffer("mean_bgr", mean.float())

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        x = crop.permute(0, 3, 1, 2).float() - self.mean_bgr
        return tuple(self.trunk.layers(x)) if self.give_layers else self.trunk(x)


def normalised(crops: NDArray[np.uint8], spec: TrunkSpec) -> Tensor:
    """Crops (N, S, S, 3) BGR -> (N, 3, S, S), RGB, as torchvision documents the input of its networks."""
    rgb = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).permute(0, 3, 1, 2).float() / 255
    return (rgb - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(1, 3, 1, 1)


class SplitHardSwish(nn.Module):
    """Hard swish from operations that integer kernels have: `x * relu6(k x + 3)`, k (C,) one factor per channel.

    With x = z / (6 s) and k = 6 s this is hardswish(z) / s: neither the 1/6 nor the channel's scale s costs an
    operation or a rounding of its own. k and 3 are a 1x1 depthwise convolution, in whose 32-bit sums k x has room.
    """

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        channels = len(scale)
        self.gate = nn.Conv2d(channels, channels, 1, groups=channels)
        self.gate.weight = nn.Parameter(6 * scale.detach().clone().view(-1, 1, 1, 1))
        self.gate.bias = nn.Parameter(torch.full((channels,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.relu6(self.gate(x))


class SplitSqueezeExcitation(nn.Module):
    """Squeeze-excite that gates with `relu6(x + 3)`: the 3 is in its bias, the 1/6 in the convolution behind it."""

    def __init__(self, gate: SqueezeExcitation) -> None:
        super().__init__()
        self.fc1, self.fc2 = copy.deepcopy(gate.fc1), copy.deepcopy(gate.fc2)
        assert self.fc2.bias is not None
        self.fc2.bias = nn.Parameter(self.fc2.bias + 3)

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.relu6(self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class ChannelsLastPad(nn.Module):
    """Zero padding below and right, done with channels last."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.pads = (0, 0, before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x.permute(0, 2, 3, 1), self.pads).permute(0, 3, 1, 2)


def fold_batch_norm(trunk: Trunk) -> Trunk:
    """Batch norm goes into the weights and bias of the convolution before it."""
    trunk = copy.deepcopy(trunk)
    for _, layer in _all(trunk, ConvNormActivation):
        norm = layer[1]
        if isinstance(norm, nn.BatchNorm2d):
            layer[0] = _folded(layer.convolution, norm)
            layer[1] = nn.Identity()
    return trunk


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """In float64 and step by step, so that every machine gets the same bits: the fingerprint is made of them."""
    weight, bias, mean, variance = (
        np.zeros(norm.num_features) if t is None else t.detach().numpy().astype(np.float64)
        for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = weight / np.sqrt(variance + norm.eps)
    given = np.zeros(len(scale)) if convolution.bias is None else convolution.bias.detach().numpy().astype(np.float64)
    folded = copy.deepcopy(convolution)
    weights = convolution.weight.detach().numpy().astype(np.float64) * scale[:, None, None, None]
    folded.weight = nn.Parameter(torch.from_numpy(weights.astype(np.float32)))
    folded.bias = nn.Parameter(torch.from_numpy((bias + (given - mean) * scale).astype(np.float32)))
    return folded


def fold_dead_squeeze_excite(trunk: Trunk, x: Tensor) -> Trunk:
    """A squeeze-excite whose hidden units never fire is a constant gate: it goes into the projection behind it.

    x: normalised crops that show it, (N, 3, S, S). In int8 the constant would be lost in the range of the others.
    """
    trunk = copy.deepcopy(trunk)
    hidden = {gate.fc1 for _, gate in _all(trunk, SqueezeExcitation)}
    answers = largest(trunk, x, lambda m: m in hidden, torch.relu)
    fired = {name: bool(values.max() > DEAD) for name, values in answers.items()}
    for name, block in _all(trunk, InvertedResidual):
        for place, gate in list(enumerate(block.block)):
            if not isinstance(gate, SqueezeExcitation) or fired[f"{name}.block.{place}.fc1"]:
                continue
            assert gate.fc2.bias is not None
            factor = functional.hardsigmoid(gate.fc2.bias).view(1, -1, 1, 1)
            projection = _projection(block)
            projection.weight = nn.Parameter(projection.weight * factor)
            del block.block[place]
    return trunk


def floor_dead_channels(trunk: Trunk) -> Trunk:
    """Channels whose weights are all but zero get one tap of DEAD: their scale would else overflow integer biases."""
    trunk = copy.deepcopy(trunk)
    for _, layer in _all(trunk, nn.Conv2d):
        weight = layer.weight.detach().clone()
        dead = weight.abs().amax((1, 2, 3)) < DEAD
        weight[dead] = 0
        weight[dead, 0, weight.shape[2] // 2, weight.shape[3] // 2] = DEAD
        layer.weight = nn.Parameter(weight)
    return trunk


def split_hard_activations(trunk: Trunk) -> Trunk:
    """Every hard swish and hard sigmoid from operations that integer kernels have. Batch norm must be folded."""
    trunk = copy.deepcopy(trunk)
    for _, layer in _all(trunk, ConvNormActivation):
        _split(layer)
    for _, residual in _all(trunk, InvertedResidual):
        for place, part in enumerate(residual.block):
            if isinstance(part, SqueezeExcitation):
                residual.block[place] = SplitSqueezeExcitation(part)
                projection = _projection(residual)
                projection.weight = nn.Parameter(projection.weight / 6)
    return trunk


def split_stem(trunk: Trunk) -> Trunk:
    """The stem's hard swish alone in this form: `equalise` can then give its channels one range, and one of Small's
    reaches a thousand times as far as another. Batch norm must be folded."""
    trunk = copy.deepcopy(trunk)
    if isinstance(trunk, MobileNetV3) and isinstance(trunk.features[0], ConvNormActivation):
        _split(trunk.features[0])
    return trunk


def _split(layer: ConvNormActivation) -> None:
    """A layer that ends in a hard swish, in place."""
    if len(layer) == 3 and isinstance(layer[2], nn.Hardswish):
        ones = torch.ones(layer.convolution.out_channels)
        layer[2] = SplitHardSwish(ones)
        _divide_outputs(layer.convolution, 6 * ones)


def pad_channels_last(trunk: Trunk) -> Trunk:
    """TensorFlow's asymmetric padding in a form whose transpositions cancel where channels are last. The last step."""
    trunk = copy.deepcopy(trunk)
    for _, layer in _all(trunk, ConvNormActivation):
        if layer.asymmetric_pad is not None:
            layer[0] = nn.Sequential(ChannelsLastPad(*layer.asymmetric_pad), layer[0])
            layer.asymmetric_pad = None
    return trunk


def equalise(trunk: Trunk, x: Tensor) -> Trunk:
    """Give the channels of every inner activation one range (Nagel et al. 2019, section 4.1, with measured ranges).

    A channel is divided by its range in the convolution that makes it, and multiplied in the one that reads it: from
    expansion to depthwise to projection, and from stem to the first depthwise. Tapped layers stay as they are, and so
    does what goes through a hard swish, unless it is split: its gate undoes the scale.

    x: normalised crops, (N, 3, S, S). Networks other than MobileNetV3 come back unchanged. Batch norm must be folded.
    """
    trunk = copy.deepcopy(trunk)
    if not isinstance(trunk, MobileNetV3):
        return trunk
    tapped = {number for numbers in trunk.tapped for number in numbers}
    ranges = largest(trunk, x, lambda m: isinstance(m, ConvNormActivation))
    names = {module: name for name, module in trunk.named_modules()}
    stem = trunk.features[0]
    for number, residual in enumerate(list(trunk.features)[1:], start=1):
        assert isinstance(residual, InvertedResidual)
        parts = list(residual.block)
        makers = [m for m in parts if isinstance(m, ConvNormActivation)]
        if number in tapped and residual.expands:
            del makers[0]
        elif number == 1 and not (residual.expands or residual.residual):
            assert isinstance(stem, ConvNormActivation)
            makers.insert(0, stem)
        gate = next((m for m in parts if isinstance(m, SqueezeExcitation | SplitSqueezeExcitation)), None)
        for maker, reader in pairwise(makers):
            if isinstance(maker[2], nn.Hardswish):
                continue  # not split: it does not scale
            values = ranges[names[maker]]
            if isinstance(maker[2], SplitHardSwish):
                # Its input counts from -3 up, whatever its largest output: between the two ranges lies the best scale.
                values = (values.clamp(min=3) * values.clamp(min=0.375)).sqrt()
            depthwise = reader.convolution.groups > 1
            scale = _scale(values, None if depthwise else reader.convolution.weight)
            _divide(maker, scale)
            _multiply(reader.convolution, scale)
            if gate is not None and not depthwise:
                _multiply(gate.fc1, scale)
    return trunk


def _scale(values: Tensor, weight: Tensor | None) -> Tensor:
    """What to divide channels of this range by. weight: of a dense reader, (O, C, k, k): its own spread counts too."""
    scale = values.clamp(min=1e-6)
    if weight is not None:
        scale = (scale / weight.detach().abs().amax((0, 2, 3)).clamp(min=1e-6)).sqrt()
    scale = scale / scale.median()
    return scale.clamp(1 / LARGEST_SCALE, LARGEST_SCALE)


def _divide(maker: ConvNormActivation, scale: Tensor) -> None:
    """Divide the channels that `maker` makes by `scale` (C,)."""
    _divide_outputs(maker.convolution, scale)
    if len(maker) == 3 and isinstance(maker[2], SplitHardSwish):
        maker[2] = SplitHardSwish(scale)


def _multiply(reader: nn.Conv2d, scale: Tensor) -> None:
    """Multiply what `reader` reads by `scale` (C,), in its weights."""
    per_channel = reader.groups > 1
    reader.weight = nn.Parameter(reader.weight * scale.view((-1, 1, 1, 1) if per_channel else (1, -1, 1, 1)))


def _divide_outputs(convolution: nn.Conv2d, scale: Tensor) -> None:
    assert convolution.bias is not None
    convolution.weight = nn.Parameter(convolution.weight / scale.view(-1, 1, 1, 1))
    convolution.bias = nn.Parameter(convolution.bias / scale)


def largest(
    trunk: Trunk,
    x: Tensor,
    wanted: Callable[[nn.Module], bool],
    magnitude: Callable[[Tensor], Tensor] = torch.abs,
    batch: int = 16,
) -> dict[str, Tensor]:
    """Largest magnitude in the output of every module that is wanted, per channel: name -> (C,)."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            now = magnitude(output).amax((0, 2, 3))
            found[name] = torch.maximum(found[name], now) if name in found else now

        return hook

    hooks = [m.register_forward_hook(keep(name)) for name, m in trunk.named_modules() if wanted(m)]
    with torch.no_grad():
        for start in range(0, len(x), batch):
            trunk(x[start : start + batch])
    for handle in hooks:
        handle.remove()
    return found


def _projection(block: InvertedResidual) -> nn.Conv2d:
    last = list(block.block)[-1]
    assert isinstance(last, ConvNormActivation)
    return last.convolution


def _all(trunk: nn.Module, kind: type[M]) -> Iterator[tuple[str, M]]:
    return ((name, m) for name, m in list(trunk.named_modules()) if isinstance(m, kind))
