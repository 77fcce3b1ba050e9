"""Pre-train fc4 and fc5 of FSNet on many videos, one fc6 for each (multi-domain training, III-C).

    python scripts/train_fsnet.py --data TRAIN_DIR --masks MASKS_VIDEO_DIR --output edge-small.fsnet.safetensors

Each cycle visits every video once: boxes of some of its frames, positives and negatives, through the shared layers
and its own fc6. In each visit a part of the maps is used (`--maps`, half of the time chosen by mutual information, as
tracking does, else at random), for a target will use only some of them; 0 takes all, as the paper. An interrupted
training goes on from `<output>.checkpoint`. `--hold-out 0/2` leaves out every second scene, to choose settings on.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scenes import MASKED, held_out
from torch import Tensor
from tqdm import tqdm
from training import check_output, checkpoint_path, one_line_errors, read_checkpoint, write_checkpoint

from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.companion import Owner
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import Box
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.datasets import read_tasks
from edge_tracker.fsnet import samples
from edge_tracker.fsnet.confidence import Confidence
from edge_tracker.fsnet.config import FsnetConfig, MapSettings
from edge_tracker.fsnet.network import grids_of, in_cells
from edge_tracker.fsnet.pretrained import Pretrained, write_pretrained
from edge_tracker.fsnet.roi_align import CELLS, roi_align
from edge_tracker.fsnet.selection import choose, root_mean_square
from edge_tracker.grid import Grid
from edge_tracker.roi import Window, crop
from edge_tracker.video.images import read_image

PLACE, ZOOM = 0.5, 0.15  # of the window around the true box: standard deviations, of the sides, of log size
DOMAIN_POSITIVES, DOMAIN_NEGATIVES = 4, 12  # boxes of a frame that a visit learns
FRAMES = 8  # of a visit


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out, beside the videos."""

    cycles: int = 100
    maps: int = 256
    rate: float = 0.01
    momentum: float = 0.9
    decay: float = 5e-4
    dropout: float = 0.5
    hidden: int = 512
    frames: int = 12  # kept of each video
    mined: int = 1  # times as many negatives are drawn, the hardest are learned
    seed: int = 0


@dataclass(frozen=True)
class Video:
    """Maps of some frames of a video, and the target in them."""

    name: str
    taps: tuple[NDArray[np.float16], ...]  # (frames, H, W, C), divided by the tap's root mean square
    boxes: NDArray[np.float64]  # (frames, 4) pixels of the crop
    usable: tuple[NDArray[np.intp], ...]  # of each tap, the maps that say something
    chosen: tuple[NDArray[np.intp], ...]  # of them, those that tracking would use


@dataclass(frozen=True)
class Clip:
    """A video as it lies on the disk."""

    name: str
    frames: list[Path]
    boxes: NDArray[np.float64]  # (frames, 4), NaN where the target cannot be seen


def read_clips(data: Path, masks: Path | None, hold_out: str | None) -> list[Clip]:
    """Sequences in OTB's layout, and videos with masks, without the scenes of the fold `hold_out` (K/N). Raises
    DatasetError."""
    clips = [Clip(task.name, list(task.frames), task.boxes) for task in read_tasks(data)]
    clips += masked_clips(masks) if masks else []
    left_out = held_out([clip.name for clip in clips], hold_out) if hold_out else frozenset()
    return [clip for clip in clips if clip.name not in left_out]


def masked_clips(folder: Path) -> list[Clip]:
    """Videos with a mask beside each frame, `<Name>/00000.jpg` and `.png`."""
    found = []
    for clip in sorted(path for path in folder.iterdir() if path.is_dir()):
        frames, boxes = [], []
        for frame in sorted(clip.glob("*.jpg")):
            mask = cv2.imread(str(frame.with_suffix(".png")), cv2.IMREAD_GRAYSCALE)
            if mask is None:
                raise DatasetError(f"{frame} has no mask beside it")
            x, y, w, h = cv2.boundingRect((mask > 0).astype(np.uint8))
            frames.append(frame)
            boxes.append([x, y, w, h] if w and h else [np.nan] * 4)
        if frames:
            found.append(Clip(MASKED + clip.name, frames, np.array(boxes, np.float64)))
    return found


def views(
    clip: Clip, count: int, config: FsnetConfig, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Evenly spread frames in which the target can be seen, cropped around it, half of them mirrored: patch (side,
    side, 3) BGR, box (4,) in its pixels. The first is as the tracker crops it. None of a video with fewer than two."""
    boxes = clip.boxes
    visible = np.flatnonzero(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    if len(visible) < 2:
        return
    for number, index in enumerate(visible[np.linspace(0, len(visible) - 1, count).round().astype(int)]):
        x, y, w, h = boxes[index]
        dx, dy = random.normal(size=2) * PLACE if number else (0.0, 0.0)
        side = max(8, round(config.window * math.sqrt(w * h) * math.exp(ZOOM * random.normal() if number else 0.0)))
        window = Window(round(x + (0.5 + dx) * w - side / 2), round(y + (0.5 + dy) * h - side / 2), side)
        patch = crop(read_image(clip.frames[index]), window, config.input_side)
        k = config.input_side / side
        box = np.array([(x - window.x) * k, (y - window.y) * k, w * k, h * k])
        if number and random.random() < 0.5:
            patch, box[0] = np.ascontiguousarray(patch[:, ::-1]), config.input_side - box[0] - box[2]
        yield patch, box


def gather(backbone: Backbone, clip: Clip, recipe: Recipe, config: FsnetConfig) -> Video | None:
    """Maps of some frames of a video; None where there are none."""
    random = np.random.default_rng([recipe.seed, *clip.name.encode()])
    taps: list[list[NDArray[np.float16]]] = []
    on_crop = []
    maps: list[NDArray[np.float32]] = []
    for patch, box in views(clip, recipe.frames, config, random):
        seen = backbone(patch)
        if not taps:
            maps = [np.ascontiguousarray(tap) for tap in seen]
            sizes = [root_mean_square(tap) for tap in maps]
        taps.append([(tap / size).astype(np.float16) for tap, size in zip(seen, sizes, strict=True)])
        on_crop.append(box)
    if not taps:
        return None
    usable, chosen = (
        tuple(use.channels for use in choose(maps, how, config.maps.count, random)) for how in ("all", "mi")
    )
    return Video(clip.name, tuple(np.stack(tap) for tap in zip(*taps, strict=True)), np.array(on_crop), usable, chosen)


@dataclass
class State:
    """What is trained; all on one device."""

    weights: dict[str, Tensor]
    speeds: dict[str, Tensor]
    branches: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=dict)  # fc6 and its speeds


def fresh_state(channels: Sequence[int], recipe: Recipe, device: str) -> State:
    generator = torch.Generator().manual_seed(recipe.seed)
    deviation = math.sqrt(2 / (CELLS * sum(channels)))
    weights = {
        f"w4.{i}": deviation * torch.randn(CELLS, c, recipe.hidden, generator=generator) for i, c in enumerate(channels)
    }
    weights["b4"] = torch.zeros(recipe.hidden)
    weights["w5"] = math.sqrt(2 / recipe.hidden) * torch.randn(recipe.hidden, recipe.hidden, generator=generator)
    weights["b5"] = torch.zeros(recipe.hidden)
    weights = {name: value.to(device) for name, value in weights.items()}
    return State(weights, {name: torch.zeros_like(value) for name, value in weights.items()})


class Visit:
    """One step of SGD on one video."""

    def __init__(self, state: State, grids: Sequence[Grid], recipe: Recipe, config: FsnetConfig, device: str) -> None:
        self.state, self.grids, self.recipe, self.config, self.device = state, grids, recipe, config, device

    def __call__(self, video: Video, rate: float, random: np.random.Generator) -> float:
        """The loss before the step."""
        channels = self._channels(video, random)
        rows = self._rows(video, channels, random)
        state, r = self.state, self.recipe
        factors = [math.sqrt(tap.shape[-1] / max(1, len(used))) for tap, used in zip(video.taps, channels, strict=True)]
        used = [torch.from_numpy(part).to(self.device) for part in channels]
        parts = [state.weights[f"w4.{i}"][:, part] for i, part in enumerate(used)]
        shared = {name: state.weights[name] for name in ("b4", "w5", "b5")}
        w6, b6, v6, u6 = self._branch(video.name)
        leaves = [value.detach().requires_grad_() for value in (*parts, *shared.values(), w6, b6)]
        count = len(parts)

        def scores(inputs: Tensor, dropout: float) -> Tensor:
            w4 = torch.cat([(part * k).flatten(0, 1) for part, k in zip(leaves[:count], factors, strict=True)])
            b4, w5, b5, last, bias = leaves[count:]
            hidden = torch.nn.functional.dropout(torch.relu(inputs @ w4 + b4), dropout, dropout > 0)
            hidden = torch.nn.functional.dropout(torch.relu(hidden @ w5 + b5), dropout, dropout > 0)
            return hidden @ last + bias

        positives = FRAMES * DOMAIN_POSITIVES
        batch = rows
        if r.mined > 1:
            with torch.no_grad():
                found = scores(rows[positives:], 0.0)
            hardest = (found[:, 1] - found[:, 0]).topk(FRAMES * DOMAIN_NEGATIVES).indices + positives
            batch = torch.cat([rows[:positives], rows[hardest]])
        labels = torch.zeros(len(batch), dtype=torch.long, device=self.device)
        labels[:positives] = 1
        loss = torch.nn.functional.cross_entropy(scores(batch, r.dropout), labels)
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            for i, (part, leaf, change) in enumerate(zip(used, leaves[:count], gradients[:count], strict=True)):
                speed = r.momentum * state.speeds[f"w4.{i}"][:, part] - rate * (change + r.decay * leaf)
                state.speeds[f"w4.{i}"][:, part] = speed
                state.weights[f"w4.{i}"][:, part] = leaf + speed
            others = [(state.weights[name], state.speeds[name]) for name in shared] + [(w6, v6), (b6, u6)]
            for (value, speed), change in zip(others, gradients[count:], strict=True):
                speed.mul_(r.momentum).sub_(rate * (change + r.decay * value))
                value.add_(speed)
        return float(loss.detach())

    def _branch(self, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if name not in self.state.branches:
            generator = torch.Generator().manual_seed(self.recipe.seed + len(self.state.branches))
            w6 = 0.01 * torch.randn(self.recipe.hidden, 2, generator=generator)
            parts = w6, torch.zeros(2), torch.zeros_like(w6), torch.zeros(2)
            self.state.branches[name] = tuple(part.to(self.device) for part in parts)  # type: ignore[assignment]
        return self.state.branches[name]

    def _channels(self, video: Video, random: np.random.Generator) -> list[NDArray[np.intp]]:
        """The maps of each tap that this visit uses."""
        if not self.recipe.maps:
            return list(video.usable)
        if random.random() < 0.5:
            return list(video.chosen)
        return [
            np.sort(random.choice(usable, min(len(usable), len(chosen)), replace=False))
            for usable, chosen in zip(video.usable, video.chosen, strict=True)
        ]

    def _rows(self, video: Video, channels: Sequence[NDArray[np.intp]], random: np.random.Generator) -> Tensor:
        """Pooled features of the visit's boxes, positives of all frames first."""
        side = float(self.config.input_side)
        count = len(video.boxes)
        frames = random.choice(count, FRAMES, replace=count < FRAMES)
        kinds: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
        for frame in frames:
            box: Box = tuple(video.boxes[frame].tolist())
            boxes = np.concatenate(
                [
                    samples.positives(box, DOMAIN_POSITIVES, random),
                    samples.negatives(box, self.recipe.mined * DOMAIN_NEGATIVES, (0.0, 0.0, side, side), random),
                ]
            )
            rows = np.concatenate(
                [
                    roi_align(tap[frame][..., used].astype(np.float32), in_cells(boxes, grid), self.config.maps.points)
                    for tap, used, grid in zip(video.taps, channels, self.grids, strict=True)
                    if len(used)
                ],
                axis=1,
            )
            kinds[0].append(rows[:DOMAIN_POSITIVES])
            kinds[1].append(rows[DOMAIN_POSITIVES:])
        return torch.from_numpy(np.concatenate([*kinds[0], *kinds[1]])).to(self.device)


def train(videos: Sequence[Video], grids: Sequence[Grid], recipe: Recipe, config: FsnetConfig, device: str,
          checkpoint: Path) -> State:  # fmt: skip
    """Train, or go on from `checkpoint`, which is written every ten cycles."""
    channels = [tap.shape[-1] for tap in videos[0].taps]
    state, first = fresh_state(channels, recipe, device), 0
    key = repr((recipe, config, [video.name for video in videos], channels))
    training = {"settings": key}
    if (saved := read_checkpoint(checkpoint, training, device)) is not None:
        state, first = State(saved["weights"], saved["speeds"], saved["branches"]), saved["cycle"]
    visit = Visit(state, grids, recipe, config, device)
    progress = tqdm(range(first, recipe.cycles), desc="cycles", disable=None)
    for cycle in progress:
        random = np.random.default_rng([recipe.seed, cycle])  # of its own, so that a training can go on
        torch.manual_seed(recipe.seed * 100_003 + cycle)
        rate = recipe.rate * 0.5 * (1 + math.cos(math.pi * cycle / recipe.cycles)) + 1e-5
        losses = [visit(videos[i], rate, random) for i in random.permutation(len(videos))]
        progress.set_postfix(loss=f"{np.mean(losses):.4f}")
        if (cycle + 1) % 10 == 0 or cycle + 1 == recipe.cycles:
            write_checkpoint(checkpoint, training, {"cycle": cycle + 1, **vars(state)})
            print(f"cycle {cycle + 1}: loss {np.mean(losses):.4f}", flush=True)
    return state


@one_line_errors("train_fsnet")
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="edge-small")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="sequences in OTB's layout")
    parser.add_argument("--masks", type=Path, help="videos with a mask beside each frame")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--hold-out", metavar="K/N", help="leave out about every N-th scene; K from 0")
    parser.add_argument("--cycles", type=int, default=Recipe.cycles)
    parser.add_argument("--maps", type=int, default=Recipe.maps, help="used in one visit; 0: all")
    parser.add_argument("--mined", type=int, default=Recipe.mined, help="times as many negatives are drawn as learned")
    parser.add_argument("--rate", type=float, default=Recipe.rate)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    run(options)
    return 0


def run(options: argparse.Namespace) -> None:
    check_output(options.output, ".safetensors")
    recipe = Recipe(cycles=options.cycles, maps=options.maps, mined=options.mined, rate=options.rate, seed=options.seed)
    config = FsnetConfig(maps=MapSettings(count=options.maps or MapSettings.count))
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # gradients of what is known already, with which it is several times slower
    cv2.setNumThreads(1)
    side = config.input_side
    found = find_model(options.model, options.models_dir, "onnxruntime")
    backbone = load_backbone(found.path, EngineOptions("onnxruntime", taps=PURPOSES, height=side, width=side))
    clips = read_clips(options.data, options.masks, options.hold_out)
    start = time.monotonic()
    gathered = [gather(backbone, clip, recipe, config) for clip in tqdm(clips, desc="videos", disable=None)]
    videos = [video for video in gathered if video is not None]
    if not videos:
        raise DatasetError("the videos hold no target that can be seen in two frames")
    print(f"{len(videos)} videos in {time.monotonic() - start:.0f} s", flush=True)
    grids = grids_of(backbone.info)
    state = train(videos, grids, recipe, config, options.device, checkpoint_path(options.output))
    weights = {name: value.cpu().numpy() for name, value in state.weights.items()}
    info = backbone.info
    w4 = {tap.name: weights[f"w4.{i}"] for i, tap in enumerate(info.taps)}
    owner = Owner(info.model, info.fingerprint)
    layers = weights["b4"], weights["w5"], weights["b5"]
    write_pretrained(options.output, Pretrained(owner, w4, *layers, Confidence()))
    print(f"{options.output}: {options.output.stat().st_size} bytes, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
