"""Train VGG-M's conv1 to conv3 from random initial weights, to see as another trunk does (distillation).

    python scripts/train_vgg_m.py --teacher mobilenetv3-small --teacher-weights FILE --images DIR [DIR ...] \\
        --output edge-vgg-m.safetensors

conv3's maps are drawn, through a linear layer that is thrown away, to the teacher's deep tap, each channel in units of
its own spread. Batch norm stands before each ReLU while training and is folded into the convolutions at the end.
Interrupted, it resumes from `<output>.checkpoint`. Then: converters/to_onnx.py --model edge-vgg-m, and
scripts/train_fsnet.py for the fully connected layers.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from train_backbone import Crops, make_eye, read_scenes, tapped_blocks
from training import check_output, checkpoint_path, one_line_errors, read_checkpoint, write_checkpoint, write_weights

from converters.trunks import TRUNKS, VggM

BATCHES_FOR_UNITS = 8  # from which the teacher's spread is taken
UNSEEN_BATCHES = 4
RESERVE = 25  # steps between checkpoints


class Student(nn.Module):
    """VGG-M with batch norm, and the linear layer to the teacher's channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.trunk = VggM(batch_norm=True, response_norm=False)
        self.head = nn.Conv2d(VggM.WIDTHS[-1], channels, 1)
        spec = TRUNKS["edge-vgg-m"]
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 RGB -> (N, channels, S/16, S/16)."""
        found: Tensor = self.head(self.trunk((x.float() - self.mean) / self.std)[0])
        return found


def folded(trunk: VggM) -> dict[str, Tensor]:
    """The state of a VggM without batch norm that answers as `trunk` does in evaluation mode."""
    state = {}
    for index, module in enumerate(trunk.features):
        if not isinstance(module, nn.Sequential):
            continue
        convolution, norm = module[0], module[1]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        state[f"features.{index}.weight"] = (convolution.weight * gain.view(-1, 1, 1, 1)).detach().contiguous()
        state[f"features.{index}.bias"] = (norm.bias - norm.running_mean * gain).detach().contiguous()
    return state


def rate_at(done: float, peak: float) -> float:
    """Warm-up over a twentieth of the training, then a cosine down to a hundredth of the peak."""
    warm = 0.05
    if done < warm:
        return peak * max(done, 1e-3) / warm
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm))))


def train(args: argparse.Namespace) -> None:
    check_output(args.output, ".safetensors")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    scenes, held_out = read_scenes(args.images)
    teacher = make_eye(args.teacher, args.teacher_weights, device).eval()
    tapped = tapped_blocks(teacher.trunk)
    deep = len(teacher.trunk.tapped[0])  # the first of the tapped blocks are those of the deep tap

    def wanted(batch: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat(teacher(batch)[: len(tapped)][:deep], dim=1)

    batches = iter(Crops(scenes, args.batch, args.side, args.seed))
    first = torch.cat([wanted(next(batches).to(device)) for _ in range(BATCHES_FOR_UNITS)])
    mean = first.mean((0, 2, 3), keepdim=True)
    deviation = first.std((0, 2, 3), keepdim=True)
    unit = 1 / (deviation + 0.03 * deviation.median())
    student = Student(first.shape[1]).to(device).train()
    optimiser = torch.optim.AdamW(student.parameters(), lr=args.rate, weight_decay=args.weight_decay)
    steps, start = math.ceil(args.crops / args.batch), 0
    checkpoint = checkpoint_path(args.output)
    names = ("teacher", "crops", "batch", "side", "rate", "weight_decay", "seed")
    training = {name: getattr(args, name) for name in names}
    if (saved := read_checkpoint(checkpoint, training, device)) is not None:
        student.load_state_dict(saved["student"])
        optimiser.load_state_dict(saved["optimiser"])
        start = saved["step"]
    crops = iter(Crops(scenes, args.batch, args.side, args.seed + 1 + start))
    recent, began = 1.0, time.monotonic()
    progress = tqdm(range(start, steps), desc="steps", disable=None)
    for step in progress:
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step / steps, args.rate)
        batch = next(crops).to(device)
        loss = ((student(batch) - (wanted(batch) - mean) * unit).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        recent += 0.02 * (float(loss.detach()) - recent)
        progress.set_postfix(loss=f"{recent:.3f}")
        if (step + 1) % RESERVE == 0 or step + 1 == steps:
            states = {"student": student.state_dict(), "optimiser": optimiser.state_dict()}
            write_checkpoint(checkpoint, training, {"step": step + 1, **states})
            print(f"step {step + 1}/{steps}: loss {recent:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    student.eval()
    unseen = iter(Crops(held_out, args.batch, args.side, args.seed))
    errors = []
    with torch.no_grad():
        for _ in range(UNSEEN_BATCHES):
            batch = next(unseen).to(device)
            errors.append(float(((student(batch) - (wanted(batch) - mean) * unit).square()).mean()))
    print(f"on scenes held out: {sum(errors) / len(errors):.3f} of the teacher's variance is not explained")
    write_weights(args.output, folded(student.trunk))


@one_line_errors("train_vgg_m")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="mobilenetv3-small")
    parser.add_argument("--teacher-weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of pictures and frames")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=50_000, help="how many to train on (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="of the crops, pixels")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    train(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
