"""Train VGG-M's conv1 to conv3 from random initial weights, to see as another trunk does (distillation).

    python scripts/train_vgg_m.py --teacher mobilenetv3-small --teacher-weights FILE --images DIR [DIR ...] \\
        --output edge-vgg-m.safetensors [--student edge-vgg-m-256]

conv3's maps are drawn to the teacher's deep tap and conv2's to its fine one, each through a linear layer that is thrown
away, each channel in units of its own spread. Batch norm stands before each ReLU while training and is folded into the
convolutions at the end.
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
RESERVE = 200  # steps between checkpoints
FINE = 0.3  # weight of conv2's loss beside conv3's


class Student(nn.Module):
    """VGG-M with batch norm, and the linear layers to the channels of the teacher's taps, deep and fine."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, channels: tuple[int, int]) -> None:
        super().__init__()
        spec = TRUNKS[name]
        taps = spec.build().taps
        self.trunk = VggM(taps[0].channels, batch_norm=True, response_norm=False)
        self.heads = nn.ModuleList(
            nn.Conv2d(tap.channels, wanted, 1) for tap, wanted in zip(taps, channels, strict=True)
        )
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, S, S) uint8 RGB -> (N, deep, S/16, S/16), (N, fine, S/8, S/8)."""
        x = ((x.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return [head(maps) for head, maps in zip(self.heads, self.trunk(x), strict=True)]


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
    precision = torch.autocast(device.type, torch.bfloat16, enabled=args.bfloat16)

    def wanted(batch: Tensor) -> list[Tensor]:
        with torch.no_grad(), precision:
            maps = teacher(batch)[: len(tapped)]
        return [torch.cat(part, dim=1).float() for part in (maps[:deep], maps[deep:])]

    batches = iter(Crops(scenes, args.batch, args.side, args.seed))
    first = [wanted(next(batches).to(device)) for _ in range(BATCHES_FOR_UNITS)]
    units = []  # of each tap: mean, 1 / spread
    for maps in zip(*first, strict=True):
        every = torch.cat(maps)
        deviation = every.std((0, 2, 3), keepdim=True)
        units.append((every.mean((0, 2, 3), keepdim=True), 1 / (deviation + 0.03 * deviation.median())))

    def unexplained(batch: Tensor) -> list[Tensor]:
        """Of each tap, the share of the teacher's variance that the student does not explain."""
        with precision:
            found = student(batch)
        return [
            (f.float() - (w - mean) * unit).square().mean()
            for f, w, (mean, unit) in zip(found, wanted(batch), units, strict=True)
        ]

    student = Student(args.student, (first[0][0].shape[1], first[0][1].shape[1])).to(device).train()
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch documents it
    optimiser = torch.optim.AdamW(student.parameters(), lr=args.rate, weight_decay=args.weight_decay)
    steps, start = math.ceil(args.crops / args.batch), 0
    checkpoint = checkpoint_path(args.output)
    names = ("student", "teacher", "crops", "batch", "side", "rate", "weight_decay", "bfloat16", "seed")
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
        conv3, conv2 = unexplained(next(crops).to(device))
        optimiser.zero_grad()
        (conv3 + FINE * conv2).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimiser.step()
        recent += 0.02 * (float(conv3.detach()) - recent)
        progress.set_postfix(loss=f"{recent:.3f}")
        if (step + 1) % RESERVE == 0 or step + 1 == steps:
            states = {"student": student.state_dict(), "optimiser": optimiser.state_dict()}
            write_checkpoint(checkpoint, training, {"step": step + 1, **states})
            print(f"step {step + 1}/{steps}: loss {recent:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    student.eval()
    unseen = iter(Crops(held_out, args.batch, args.side, args.seed))
    with torch.no_grad():
        errors = [[float(error) for error in unexplained(next(unseen).to(device))] for _ in range(UNSEEN_BATCHES)]
    conv3_error, conv2_error = (sum(column) / len(errors) for column in zip(*errors, strict=True))
    print(
        "on scenes held out, of the teacher's variance is not explained: "
        f"{conv3_error:.3f} of the deep tap, {conv2_error:.3f} of the fine one"
    )
    write_weights(args.output, folded(student.trunk))


@one_line_errors("train_vgg_m")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="edge-vgg-m", choices=["edge-vgg-m", "edge-vgg-m-256"])
    parser.add_argument("--teacher", default="mobilenetv3-small")
    parser.add_argument("--teacher-weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of pictures and frames")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=150_000, help="how many to train on (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="of the crops, pixels")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--bfloat16", action="store_true", help="half of the time where the processor has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    train(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
