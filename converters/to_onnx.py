"""Convert a trunk to ONNX: `python converters/to_onnx.py --model mobilenetv3-small --weights FILE --output FILE`.

The graph takes the raw crop, uint8 (1, S, S, 3) BGR, and gives one float32 output (1, C, H, W) per tap; colour
order and normalisation are inside. What the model is (taps, strides, layers) is kept in its metadata.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from converters import weight_network
from converters.trunks import TRUNKS, Trunk, TrunkSpec, load_trunk
from converters.writing import OPSET, finish, write
from edge_tracker.backbones.base import BackboneInfo
from edge_tracker.backbones.catalogue import sha256_of
from edge_tracker.errors import EdgeTrackerError, ModelError

TOLERANCE = 1e-4  # of ONNX against torch, relative to each tap's largest activation


class CropToTaps(nn.Module):
    """A trunk behind its preprocessing: uint8 (1, S, S, 3) BGR -> taps.

    Scale and colour order go into the first convolution; the mean is subtracted before it, because the
    convolution's zero padding must mean "mean colour", as it did in training.
    """

    mean_bgr: Tensor

    def __init__(self, trunk: Trunk, spec: TrunkSpec) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        stem = next(m for m in self.trunk.modules() if isinstance(m, nn.Conv2d))
        std = torch.tensor(spec.std).view(1, 3, 1, 1) * 255
        stem.weight = nn.Parameter((stem.weight.double() / std.double()).float().flip(1))
        mean = torch.tensor(spec.mean, dtype=torch.float64).flip(0).view(1, 3, 1, 1) * 255
        self.register_buffer("mean_bgr", mean.float())

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        taps: tuple[Tensor, ...] = self.trunk(crop.permute(0, 3, 1, 2).float() - self.mean_bgr)
        return taps


def export(name: str, trunk: Trunk) -> onnx.ModelProto:
    """Export trunk `name` and return the ONNX model, checked against torch on a random crop.

    Raises ModelError where ONNX Runtime's taps differ from torch's by more than TOLERANCE.
    """
    spec = TRUNKS[name]
    info = BackboneInfo(name, spec.input_side, trunk.taps)
    crop = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (1, spec.input_side, spec.input_side, 3), dtype=np.uint8)
    )
    module = CropToTaps(trunk, spec).eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(
            module,
            (crop,),
            path,
            input_names=["crop"],
            output_names=[tap.name for tap in info.taps],
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        model = onnx.load(path)
    finish(model, info)
    check_against_torch(model, trunk, spec, crop)
    return model


def check_against_torch(model: onnx.ModelProto, trunk: Trunk, spec: TrunkSpec, crop: Tensor) -> float:
    """Largest difference between ONNX and the plain torch trunk, relative to each tap's largest activation.

    The torch side normalises the way torchvision documents it, so a slip in the folding shows here.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"crop": crop.numpy()})
    rgb = crop.flip(3).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = trunk((rgb - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(1, 3, 1, 1))
    error = max(
        float(np.abs(a - b.numpy()).max() / max(np.abs(b.numpy()).max(), 1e-12))
        for a, b in zip(found, expected, strict=True)
    )
    if not error <= TOLERANCE:
        raise ModelError(f"the ONNX model differs from torch by {error:.1e} of its range, over {TOLERANCE:.0e}")
    return error


def main(argv: list[str] | None = None) -> int:
    if weight_network.asked_for(argv):
        return weight_network.main(argv)
    parser = argparse.ArgumentParser(description="Convert a feature extractor to ONNX.")
    parser.add_argument("--model", required=True, choices=[*sorted(TRUNKS), weight_network.MODEL], help="which network")
    parser.add_argument("--weights", type=Path, help="torchvision state dict (.pt, .pth) or the minimalistic .npz")
    parser.add_argument("--random-weights", action="store_true", help="no weights: for tests of the tool chain only")
    parser.add_argument("--output", type=Path, required=True, help="the .onnx file to write")
    args = parser.parse_args(argv)
    try:
        if (args.weights is None) != args.random_weights:
            raise ModelError("give --weights FILE (or, for tests only, --random-weights)")
        if not args.output.parent.is_dir():
            raise ModelError(f"no folder {args.output.parent} to write {args.output.name} into")
        model = export(args.model, load_trunk(args.model, args.weights))
        origin = f"{args.weights.name}, sha256 {sha256_of(args.weights)}" if args.weights else "random, for tests"
        write(model, args.output, origin)
    except EdgeTrackerError as error:
        print(f"to_onnx: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
