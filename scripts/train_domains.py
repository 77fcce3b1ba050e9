"""Train a trunk's convolutions for FSNet on many videos, each with an fc6 of its own (multi-domain training, III-C).

    python scripts/train_domains.py --model edge-vgg-m --weights distilled.safetensors --data TRAIN_DIR \\
        --masks MASKS_VIDEO_DIR --output edge-vgg-m.safetensors

Each cycle visits every video once: boxes of some of its frames, positives and the hardest of the negatives, through
convolutions, max-RoIAlign, fc4, fc5 and the video's own fc6. The convolutions learn more slowly than the rest, and are
what is kept: fc4 and fc5, which depend on the maps that a target uses, are scripts/train_fsnet.py's. An interrupted
training goes on from `<output>.checkpoint`. `--hold-out 0/4` leaves out every fourth scene, to judge the trunk on.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from train_fsnet import DOMAIN_NEGATIVES, DOMAIN_POSITIVES, Clip, read_clips, views
from training import check_output, checkpoint_path, one_line_errors, read_checkpoint, write_checkpoint, write_weights

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from converters.trunks import TRUNKS, load_trunk
from edge_tracker.boxes import Box
from edge_tracker.cli.options import positive_int
from edge_tracker.errors import DatasetError
from edge_tracker.fsnet import samples
from edge_tracker.fsnet.config import FsnetConfig
from edge_tracker.fsnet.network import in_cells
from edge_tracker.fsnet.roi_align import BINS, CELLS, POINTS
from edge_tracker.grid import Grid

FRAMES = 4  # of a visit
LARGEST_GRADIENT = 10.0  # norm, of the convolutions and of the rest


@dataclass(frozen=True)
class Views:
    """Some frames of a video as the tracker crops them, and the target in them."""

    name: str
    patches: NDArray[np.uint8]  # (frames, side, side, 3) BGR
    boxes: NDArray[np.float64]  # (frames, 4) pixels of the patch


def roi_align(maps: Tensor, boxes: Tensor, points: int = POINTS) -> Tensor:
    """`edge_tracker.fsnet.roi_align.roi_align` with a gradient.

    maps (n, C, H, W); boxes (n, m, 4) in cells, m on each of the n -> (n, m, BINS BINS C).
    """
    count, channels, height, width = maps.shape
    steps = (torch.arange(BINS * points, device=maps.device) + 0.5) / (BINS * points)
    x, y, w, h = boxes.unsqueeze(-1).unbind(2)  # (n, m, 1) each
    across, down = 2 * (x + w * steps) / (width - 1) - 1, 2 * (y + h * steps) / (height - 1) - 1
    shape = (*boxes.shape[:2], len(steps), len(steps))
    grid = torch.stack([across[:, :, None].expand(shape), down[..., None].expand(shape)], dim=-1)
    sampled = functional.grid_sample(maps, grid.flatten(1, 2), padding_mode="border", align_corners=True)
    bins = sampled.view(count, channels, boxes.shape[1], BINS, points, BINS, points).amax((4, 6))
    return bins.permute(0, 2, 3, 4, 1).flatten(2)


class Domains(nn.Module):
    """A trunk, fc4 and fc5 of all domains, and fc6 of each."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: str, weights: Path, names: Sequence[str], hidden: int, dropout: float) -> None:
        """names: of the videos. Raises ModelError."""
        super().__init__()
        spec = TRUNKS[model]
        self.trunk = load_trunk(model, weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", 255 * torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(spec.std).view(1, 3, 1, 1))
        self.fc4 = nn.Linear(CELLS * sum(tap.channels for tap in self.trunk.taps), hidden)
        self.fc5 = nn.Linear(hidden, hidden)
        self.fc6 = nn.ModuleDict({self.key(name): nn.Linear(hidden, 2) for name in names})
        self.dropout = dropout
        for layer in (self.fc4, self.fc5):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    @staticmethod
    def key(name: str) -> str:
        return "video " + name.replace(".", "/")  # torch wants no dots, and no names of its own

    def rows(self, patches: NDArray[np.uint8], boxes: NDArray[np.float64], bfloat16: bool) -> Tensor:
        """patches (n, side, side, 3) BGR, boxes (n, m, 4) in their pixels -> (n m, D) pooled features."""
        device = self.mean.device
        pixels = torch.from_numpy(patches).to(device).flip(3).permute(0, 3, 1, 2).float()
        pixels = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            taps = self.trunk(pixels)
        parts = []
        for tap, maps in zip(self.trunk.taps, taps, strict=True):
            maps = maps.float()
            maps = maps / maps.detach().square().mean().sqrt().clamp_min(1e-6)
            grid = Grid.over(patches.shape[1], tap.stride, tap.receptive_offset_px)
            cells = in_cells(boxes.reshape(-1, 4), grid).reshape(boxes.shape)
            parts.append(roi_align(maps, torch.from_numpy(cells).to(device, torch.float32)))
        # The order of fc4's inputs is of no consequence: it is thrown away.
        return torch.cat(parts, dim=2).flatten(0, 1)

    def scores(self, rows: Tensor, name: str) -> Tensor:
        """(m, D) -> (m, 2): background, target."""
        hidden = functional.dropout(functional.relu(self.fc4(rows)), self.dropout, self.training)
        hidden = functional.dropout(functional.relu(self.fc5(hidden)), self.dropout, self.training)
        found: Tensor = self.fc6[self.key(name)](hidden)
        return found


def visit(net: Domains, views: Views, mined: int, bfloat16: bool, random: np.random.Generator) -> Tensor:
    """The loss of one video: boxes of FRAMES of its frames, of `mined` times the negatives the hardest."""
    frames = random.choice(len(views.boxes), FRAMES, replace=len(views.boxes) < FRAMES)
    side = float(views.patches.shape[1])
    patches, boxes = views.patches[frames].copy(), []
    for k, frame in enumerate(frames):
        x, y, w, h = views.boxes[frame].tolist()
        if random.random() < 0.5:
            patches[k], x = patches[k][:, ::-1], side - x - w
        box: Box = (x, y, w, h)
        area = 0.0, 0.0, side, side
        boxes.append(samples.drawn(box, DOMAIN_POSITIVES, mined * DOMAIN_NEGATIVES, area, random))
    rows = net.rows(patches, np.stack(boxes), bfloat16)
    positive = torch.zeros(FRAMES, len(boxes[0]), dtype=torch.bool, device=rows.device)
    positive[:, :DOMAIN_POSITIVES] = True
    positive = positive.flatten()
    others = (~positive).nonzero().flatten()
    if mined > 1:
        with torch.no_grad():
            found = net.eval().scores(rows[others], views.name)
        net.train()
        others = others[(found[:, 1] - found[:, 0]).topk(FRAMES * DOMAIN_NEGATIVES).indices]
    learned = torch.cat([positive.nonzero().flatten(), others])
    return functional.cross_entropy(net.scores(rows[learned], views.name), positive[learned].long())


def gather(clip: Clip, frames: int, config: FsnetConfig, seed: int) -> Views | None:
    """None of a video with fewer than two frames in which the target can be seen."""
    seen = list(views(clip, frames, config, np.random.default_rng([seed, *clip.name.encode()])))
    return Views(clip.name, np.stack([p for p, _ in seen]), np.stack([b for _, b in seen])) if seen else None


def train(args: argparse.Namespace) -> None:
    check_output(args.output, ".safetensors")
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    cv2.setNumThreads(1)
    config, start = FsnetConfig(), time.monotonic()
    clips = read_clips(args.data, args.masks, args.hold_out)
    gathered = [gather(clip, args.frames, config, args.seed) for clip in tqdm(clips, desc="videos", disable=None)]
    videos = [video for video in gathered if video is not None]
    if not videos:
        raise DatasetError("the videos hold no target that can be seen in two frames")
    print(f"{len(videos)} videos in {time.monotonic() - start:.0f} s", flush=True)
    names = [video.name for video in videos]
    net = Domains(args.model, args.weights, names, config.hidden, args.dropout).to(args.device).train()
    convolutions = list(net.trunk.parameters())
    rest = [p for name, p in net.named_parameters() if not name.startswith("trunk.")]
    groups = [{"params": convolutions, "factor": args.convolutions}, {"params": rest, "factor": 1.0}]
    optimiser = torch.optim.SGD(groups, lr=args.rate, momentum=0.9, weight_decay=args.weight_decay)
    checkpoint, first = checkpoint_path(args.output), 0
    numbers = (
        "cycles",
        "rate",
        "convolutions",
        "mined",
        "frames",
        "dropout",
        "weight_decay",
        "bfloat16",
        "seed",
        "model",
    )
    training = {**{name: getattr(args, name) for name in numbers}, "videos": names}
    if (saved := read_checkpoint(checkpoint, training, args.device)) is not None:
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["cycle"]
    progress = tqdm(range(first, args.cycles), desc="cycles", disable=None)
    for cycle in progress:
        random = np.random.default_rng([args.seed, cycle])  # of its own, so that a training can go on
        torch.manual_seed(args.seed * 100_003 + cycle)
        for group in optimiser.param_groups:
            decline = 0.5 * (1 + math.cos(math.pi * cycle / args.cycles))
            group["lr"] = group["factor"] * args.rate * (0.01 + 0.99 * decline)
        losses = []
        for index in random.permutation(len(videos)):
            loss = visit(net, videos[index], args.mined, args.bfloat16, random)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            for parameters in (convolutions, rest):
                nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimiser.step()
            losses.append(float(loss.detach()))
        progress.set_postfix(loss=f"{np.mean(losses):.4f}")
        write_checkpoint(
            checkpoint,
            training,
            {"cycle": cycle + 1, "net": net.state_dict(), "optimiser": optimiser.state_dict()},
        )
        print(f"cycle {cycle + 1}: loss {np.mean(losses):.4f}, {time.monotonic() - start:.0f} s", flush=True)
    write_weights(args.output, net.trunk.state_dict())
    print(f"{args.output}: {args.output.stat().st_size} bytes")


@one_line_errors("train_domains")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="edge-vgg-m", choices=sorted(TRUNKS))
    parser.add_argument("--weights", type=Path, required=True, help="of the trunk that is trained on")
    parser.add_argument("--data", type=Path, required=True, help="sequences in OTB's layout")
    parser.add_argument("--masks", type=Path, help="videos with a mask beside each frame")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--hold-out", metavar="K/N", help="leave out about every N-th scene; K from 0")
    parser.add_argument("--cycles", type=positive_int, default=50)
    parser.add_argument("--frames", type=positive_int, default=16, help="kept of each video")
    parser.add_argument("--mined", type=positive_int, default=2, help="times as many negatives are drawn as learned")
    parser.add_argument("--rate", type=float, default=0.01, help="of the fully connected layers")
    parser.add_argument("--convolutions", type=float, default=0.1, help="rate of the convolutions, of --rate")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--bfloat16", action="store_true", help="half of the time where the processor has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--device", default="cpu")
    train(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
