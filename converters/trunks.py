"""The networks whose feature maps FMST tracks with, as torch modules that stop at the last tap.

A *trunk* is the part of a classification network up to the deepest layer that is tapped. Its parameters
carry torchvision's key names (`features.<n>. ...`), so the official state dicts load; whatever a state
dict holds beyond the trunk is left out.

Taps (method of the FMST paper, section 3.1, blocks counted from 1):
MobileNetV3-Small blocks 6, 8, 9 and -Large blocks 11, 12, 13: the *expansion* activations (1x1
convolution, batch norm, activation, before the depthwise convolution), all at stride 16; for localisation, ours,
the expansions of the last two blocks at stride 8 (3, 4 and 6, 7).
VGG16: conv4_3 (stride 8) and conv5_3 (stride 16), after their ReLU.
VGG-M, for FSNet: conv3 (stride 16) and conv2 (stride 8), after their ReLU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from converters.matconvnet import read_vgg_m
from converters.onnx_weights import read_weights
from edge_tracker.backbones.base import Layer, Purpose, Tap
from edge_tracker.errors import EdgeTrackerError, ModelError
from edge_tracker.files import check_archive

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB / 255, as torchvision's weights expect
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Block:
    """One inverted residual block of MobileNetV3 (Howard et al. 2019, tables 1 and 2)."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    hard_swish: bool
    stride: int


SMALL_BLOCKS = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    Block(5, 240, 40, True, True, 1),
    Block(5, 240, 40, True, True, 1),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
)
LARGE_BLOCKS = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
)
# "Minimalistic": the same widths with 3x3 kernels, ReLU and no squeeze-excite.
MINIMALISTIC_BLOCKS = tuple(Block(3, b.expanded, b.out, False, False, b.stride) for b in LARGE_BLOCKS)


class ConvNormActivation(nn.Sequential):
    """Convolution (key 0), batch norm (key 1) and activation. `folded` means batch norm sits in the bias."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
        folded: bool = False,
        same_padding: bool = False,
    ) -> None:
        # TensorFlow's SAME padding of a strided convolution is asymmetric: one more pixel below and right.
        asymmetric = same_padding and stride == 2
        convolution = nn.Conv2d(
            channels_in,
            channels_out,
            kernel,
            stride,
            padding=0 if asymmetric else (kernel - 1) // 2,
            groups=groups,
            bias=folded,
        )
        norm = nn.Identity() if folded else nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01)
        super().__init__(convolution, norm, *([activation()] if activation else []))
        self.asymmetric_pad = ((kernel - 2) // 2, (kernel - 1) - (kernel - 2) // 2) if asymmetric else None

    @property
    def convolution(self) -> nn.Conv2d:
        convolution = self[0]
        assert isinstance(convolution, nn.Conv2d)
        return convolution

    def forward(self, x: Tensor) -> Tensor:
        if self.asymmetric_pad is not None:
            before, after = self.asymmetric_pad
            x = functional.pad(x, (before, after, before, after))
        for layer in self:
            x = layer(x)
        return x


class SqueezeExcitation(nn.Module):
    """Channel gate: global mean, two 1x1 convolutions, hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, (channels // 4 + 4) // 8 * 8)
        if hidden < 0.9 * (channels // 4):
            hidden += 8
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * functional.hardsigmoid(self.fc2(gate))


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-excite, project. `expansion_only` keeps what the last tap needs."""

    def __init__(
        self, channels_in: int, b: Block, minimalistic: bool, same_padding: bool, expansion_only: bool
    ) -> None:
        super().__init__()
        activation = nn.Hardswish if b.hard_swish else nn.ReLU
        self.expands = b.expanded != channels_in
        self.residual = b.stride == 1 and channels_in == b.out
        layers: list[nn.Module] = []
        if self.expands:
            layers.append(ConvNormActivation(channels_in, b.expanded, 1, activation=activation, folded=minimalistic))
        if not expansion_only:
            layers.append(
                ConvNormActivation(
                    b.expanded,
                    b.expanded,
                    b.kernel,
                    b.stride,
                    groups=b.expanded,
                    activation=activation,
                    folded=minimalistic,
                    same_padding=same_padding,
                )
            )
            if b.squeeze:
                layers.append(SqueezeExcitation(b.expanded))
            layers.append(ConvNormActivation(b.expanded, b.out, 1, activation=None, folded=minimalistic))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output and its expansion activation."""
        expansion = self.block[0](x) if self.expands else x
        y = expansion
        for layer in list(self.block)[int(self.expands) :]:
            y = layer(y)
        return (x + y if self.residual else y), expansion


class Trunk(nn.Module):
    """A network that returns its taps: x (N, 3, S, S), normalised RGB -> one (N, C, S/stride, S/stride) per tap."""

    taps: tuple[Tap, ...]

    def layers(self, x: Tensor) -> list[Tensor]:
        """Every tapped layer by itself, in the order of `taps` and of their layers."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        layers = iter(self.layers(x))
        return tuple(torch.cat([next(layers) for _ in tap.layers], dim=1) for tap in self.taps)


class MobileNetV3(Trunk):
    """MobileNetV3 up to the expansion of its last block.

    Two taps, the expansions of the blocks `selection` (stride 16) and `localisation` (stride 8).
    """

    def __init__(
        self,
        blocks: tuple[Block, ...],
        selection: tuple[int, ...],
        localisation: tuple[int, ...],
        minimalistic: bool = False,
        same_padding: bool = False,
    ) -> None:
        super().__init__()
        stem_activation = nn.ReLU if minimalistic else nn.Hardswish
        layers: list[nn.Module] = [
            ConvNormActivation(
                3,
                16,
                3,
                2,
                activation=stem_activation,
                folded=minimalistic,
                same_padding=same_padding,
            )
        ]
        channels = 16
        for number, b in enumerate(blocks, start=1):
            last = number == len(blocks)
            layers.append(InvertedResidual(channels, b, minimalistic, same_padding, expansion_only=last))
            channels = b.out
        self.features = nn.Sequential(*layers)
        self.tapped = (selection, localisation)

        def tap(stride: int, numbers: tuple[int, ...], purpose: Purpose) -> Tap:
            layers = tuple(Layer(f"block{n}", blocks[n - 1].expanded) for n in numbers)
            # Each strided 3x3 convolution centres cell i on pixel 2 i, TensorFlow's on 2 i + 1, not between the two.
            receptive = stride / 2 - 1 if same_padding else -stride / 2
            return Tap(f"stride{stride}", stride, layers, purpose=purpose, receptive_offset_px=receptive)

        self.taps = (tap(16, selection, "selection"), tap(8, localisation, "localisation"))

    def layers(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, S, S), normalised RGB -> the expansions at stride 16, then those at stride 8."""
        expansions, _ = self.activations(x)
        return [expansions[n - 1] for numbers in self.tapped for n in numbers]

    def activations(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Expansions and outputs of all blocks. The last block's output, of which only the expansion is built,
        is that expansion."""
        x = self.features[0](x)
        expansions, outputs = [], []
        for block in list(self.features)[1:]:
            x, expansion = block(x)
            expansions.append(expansion)
            outputs.append(x)
        return expansions, outputs


class Vgg16(Trunk):
    """VGG16 (Simonyan and Zisserman 2014, configuration D) up to conv5_3; taps conv4_3 and conv5_3."""

    WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
    CONV4_3, CONV5_3 = 22, 29  # indices of the ReLUs in torchvision's `features`

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in self.WIDTHS:
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.taps = (
            Tap("stride8", 8, (Layer("conv4_3", 512),)),
            Tap("stride16", 16, (Layer("conv5_3", 512),)),
        )

    def layers(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, S, S), normalised RGB -> (N, 512, S/8, S/8), (N, 512, S/16, S/16)."""
        conv4_3 = self.features[: self.CONV4_3 + 1](x)
        return [conv4_3, self.features[self.CONV4_3 + 1 :](conv4_3)]


class ResponseNorm(nn.Module):
    """Local response normalisation: x / (kappa + alpha sum x^2)^beta, the sum over `size` neighbouring channels."""

    def __init__(self, size: int = 5, kappa: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.kappa, self.alpha, self.beta = size, kappa, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        # Torch and ONNX divide alpha by the size, MatConvNet does not.
        alpha = self.alpha * self.size
        if torch.onnx.is_in_onnx_export():  # torch would export five operators for the one that ONNX has
            attributes: dict[str, Any] = {"size": self.size, "alpha": alpha, "beta": self.beta, "bias": self.kappa}
            exported: Tensor = torch.onnx.ops.symbolic(
                "LRN", (x,), attributes, dtype=x.dtype, shape=x.shape, version=13
            )
            return exported
        return functional.local_response_norm(x, self.size, alpha, self.beta, self.kappa)


class VggM(Trunk):
    """VGG-M (Chatfield et al. 2014) up to conv3, FSNet's tap (III-B), at stride 16; conv2 at stride 8 is a second one.
    Both are taken after their ReLU.

    MatConvNet's network pads conv1 and both poolings by less. Here every layer is padded such that the cells of a map
    lie over the whole image; away from its borders the answers are the same, one cell later.
    """

    WIDTHS = 96, 256
    CONV2 = 5  # index of its ReLU in `features`

    def __init__(self, maps: int = 512, batch_norm: bool = False, response_norm: bool = True) -> None:
        """maps: of conv3; with 256 it is the paper's 256FNet (Fig. 9).

        batch_norm: before each ReLU, for training alone (scripts/train_vgg_m.py folds it into the convolution).

        response_norm: ours has none. It took half of the time on a CPU, and after batch norm is next to a constant.
        """
        super().__init__()

        def convolution(channels_in: int, channels_out: int, kernel: int, stride: int) -> nn.Module:
            layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=not batch_norm)
            return nn.Sequential(layer, nn.BatchNorm2d(channels_out)) if batch_norm else layer

        one, two = self.WIDTHS
        self.features = nn.Sequential(
            convolution(3, one, 7, 2),
            nn.ReLU(),
            ResponseNorm() if response_norm else nn.Identity(),
            nn.MaxPool2d(3, 2, padding=1),
            convolution(one, two, 5, 2),
            nn.ReLU(),
            ResponseNorm() if response_norm else nn.Identity(),
            nn.MaxPool2d(3, 2, padding=1),
            convolution(two, maps, 3, 1),
            nn.ReLU(),
        )
        # Cell i is centred on pixel 16 i, or 8 i, not between two.
        self.taps = (
            Tap("stride16", 16, (Layer("conv3", maps),), "selection", -8.0),
            Tap("stride8", 8, (Layer("conv2", two),), "localisation", -4.0),
        )

    def layers(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, H, W), normalised RGB -> (N, maps, H/16, W/16), (N, 256, H/8, W/8)."""
        conv2 = self.features[: self.CONV2 + 1](x)
        return [self.features[self.CONV2 + 1 :](conv2), conv2]


@dataclass(frozen=True)
class TrunkSpec:
    """How to build one trunk and what its input looks like. `mean` and `std` are of RGB / 255."""

    build: Callable[[], Trunk]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_side: int = 224


TRUNKS: dict[str, TrunkSpec] = {
    "mobilenetv3-small": TrunkSpec(lambda: MobileNetV3(SMALL_BLOCKS, (6, 8, 9), (3, 4))),
    "mobilenetv3-large": TrunkSpec(lambda: MobileNetV3(LARGE_BLOCKS, (11, 12, 13), (6, 7))),
    "mobilenetv3-large-minimalistic": TrunkSpec(
        lambda: MobileNetV3(MINIMALISTIC_BLOCKS, (11, 12, 13), (6, 7), minimalistic=True, same_padding=True),
        mean=(0.5, 0.5, 0.5),  # RGB / 127.5 - 1
        std=(0.5, 0.5, 0.5),
    ),
    "vgg16": TrunkSpec(Vgg16),
    "vgg-m": TrunkSpec(VggM, std=(1 / 255, 1 / 255, 1 / 255)),  # RGB in 0..255 less the mean
    # Our own, trained by scripts/train_backbone.py; the large one is padded as its teacher is.
    "edge-small": TrunkSpec(lambda: MobileNetV3(SMALL_BLOCKS, (6, 8, 9), (3, 4))),
    "edge-vgg-m": TrunkSpec(lambda: VggM(response_norm=False)),  # trained by scripts/train_vgg_m.py
    "edge-vgg-m-256": TrunkSpec(lambda: VggM(256, response_norm=False)),
    "edge-large": TrunkSpec(lambda: MobileNetV3(LARGE_BLOCKS, (11, 12, 13), (6, 7), same_padding=True)),
}


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict (`.pt`, `.pth`, `.safetensors`), the minimalistic release's `.npz` or MatConvNet's `.mat` of
    VGG-M into torchvision's names.

    Raises ModelError where the file is missing or is not such a file. Pickled code is never run.
    """
    if not path.is_file():
        raise ModelError(f"no weights file at {path}")
    if path.suffix == ".mat":
        red, green, blue = (255 * mean for mean in IMAGENET_MEAN)
        return read_vgg_m(path, (red, green, blue))
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        check_archive(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {_torchvision_key(name): torch.from_numpy(arrays[name]) for name in arrays.files}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except EdgeTrackerError as error:
        raise ModelError(f"cannot read weights from {path}: {error}") from error
    except Exception as error:  # torch and NumPy raise many kinds here, and advise to run what is in the file
        reason = "it is no such file, it is damaged, or it holds more than arrays: pickled code is never run"
        raise ModelError(f"cannot read weights from {path}: {reason}") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} is not a state dict (a mapping of names to tensors)")
    # torchvision saves `features.0...`; Sequential(features, avgpool) saves the same as `0.0...`
    if not any(key.startswith("features.") for key in state):
        state = {re.sub(r"^0\.", "features.", key): value for key, value in state.items()}
    return dict(state)


def _torchvision_key(name: str) -> str:
    """`expanded_conv_3/expand/W_oihw` -> `features.4.block.0.0.weight`."""
    *path, kind = name.split("/")
    leaf = {"W_oihw": "weight", "b": "bias"}.get(kind)
    if leaf is None or not path:
        raise ModelError(f"unknown array '{name}' in the weights file")
    if path == ["Conv"]:
        return f"features.0.0.{leaf}"
    match = re.fullmatch(r"expanded_conv(?:_(\d+))?", path[0])
    if match is None or len(path) != 2 or path[1] not in ("expand", "depthwise", "project"):
        raise ModelError(f"unknown array '{name}' in the weights file")
    block = int(match[1] or 0)
    # The first block has no expansion, so its layers move up by one.
    position = ("expand", "depthwise", "project").index(path[1]) - (1 if block == 0 else 0)
    return f"features.{block + 1}.block.{position}.0.{leaf}"


def load_trunk(name: str, weights: Path | None) -> Trunk:
    """Build trunk `name` in evaluation mode, from a state dict or a float ONNX file of it.

    weights: None leaves random (seeded) weights, for tests. Raises ModelError that names missing, surplus or misshapen
    keys.
    """
    torch.manual_seed(0)
    trunk = TRUNKS[name].build().eval()
    if weights is None:
        return trunk
    expected = trunk.state_dict()
    from_onnx = weights.suffix == ".onnx"
    state = read_weights(weights, expected, TRUNKS[name].std) if from_onnx else load_state(weights)
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    surplus = [k for k in state if k not in expected and not _beyond_trunk(k, expected)]
    misshapen = [
        f"{k} {tuple(state[k].shape)}, expected {tuple(expected[k].shape)}"
        for k in expected
        if k in state and state[k].shape != expected[k].shape
    ]
    problems = [
        f"{len(keys)} {what} keys: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
        for what, keys in (("missing", missing), ("surplus", surplus), ("misshapen", misshapen))
        if keys
    ]
    if problems:
        raise ModelError(f"{weights} does not fit {name}: " + "; ".join(problems))
    trunk.load_state_dict({k: state[k] for k in expected if k in state}, strict=False)
    if not all(torch.isfinite(p).all() for p in trunk.state_dict().values()):
        raise ModelError(f"{weights} holds NaN or infinite values")
    return trunk


def _beyond_trunk(key: str, expected: Mapping[str, Tensor]) -> bool:
    """True for a classifier, or a features layer behind the last one that the trunk holds."""

    def position(k: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", k)[: 2 if ".block." in k else 1])

    if key.startswith(("classifier.", "avgpool.", "1.")):
        return True
    return bool(re.match(r"features\.\d+\.", key)) and position(key) > max(map(position, expected))
