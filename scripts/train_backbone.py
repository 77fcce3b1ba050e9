"""Train a trunk of our own, from random initial weights, to see as another trunk does (distillation).

    python scripts/train_backbone.py --student edge-small --teacher mobilenetv3-small --teacher-weights FILE \\
        --images DIR [DIR ...] --output edge-small.safetensors

No labels are needed: any pictures and frames will do, best those of the cameras that it shall serve. The student's
taps, and more lightly its blocks' outputs, are drawn to the teacher's, each channel in units of its own spread.
Interrupted, it resumes from `<output>.checkpoint`. What it was trained on and what came of it is in a .json beside the
output, for scripts/model_card.py. See docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm
from training import (
    check_output,
    checkpoint_path,
    command_line,
    one_line_errors,
    read_checkpoint,
    restoring,
    write_checkpoint,
    write_weights,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from converters.trunks import TRUNKS, MobileNetV3, TrunkSpec, load_trunk
from edge_tracker.backbones.cards import sha256_of
from edge_tracker.cli.options import positive_int
from edge_tracker.errors import ConfigError, DatasetError, ModelError
from edge_tracker.files import write_text
from edge_tracker.roi import affine
from edge_tracker.video.images import IMAGE_SUFFIXES, read_image

LONGEST_SIDE_PX = 400  # images are kept in memory at most this large
HELD_OUT = 20  # every so-many-th scene is never trained on
# Share of all crops, and the side of those crops: most of the learning is cheap at low resolution.
STAGES = ((0.60, 128), (0.30, 160), (0.10, 224))
OUTPUT_WEIGHT = 0.3  # of the blocks' outputs against the taps
LOOKED_AT = 32  # crops in a batch of those below
UNIT_BATCHES = 16  # from which the teacher's spread is taken
UNSEEN_BATCHES = 4  # of held-out scenes, on which the student is measured


@dataclass(frozen=True)
class Scene:
    """A picture, or the frames of one video, which look much alike."""

    name: str
    images: list[NDArray[np.uint8]]


def read_scenes(folders: list[Path]) -> tuple[list[Scene], list[Scene]]:
    """All images under `folders`, those of a folder called img as one scene: for training, held out.

    A .png beside a .jpg of its name is a mask, no picture.

    Raises DatasetError where there are too few, SourceError for one that cannot be decoded.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"no folder of images at {folder}")
    paths = sorted(
        {p for f in folders for p in f.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()}
        - {p.with_suffix(".png") for f in folders for p in f.rglob("*.jpg")}  # masks beside their pictures
    )
    scenes: dict[Path, list[NDArray[np.uint8]]] = {scene_of(path): [] for path in paths}
    if len(paths) < 2 * HELD_OUT or len(scenes) < 2:
        found = f"{len(paths)} images of {len(scenes)} scenes under {', '.join(map(str, folders))}"
        raise DatasetError(f"{found}: too few to learn from, {2 * HELD_OUT} of two scenes are the least")
    for path in tqdm(paths, desc="reading", unit=" images", disable=None):
        image = read_image(path)
        k = LONGEST_SIDE_PX / max(image.shape[:2])
        if k < 1:
            image = np.asarray(cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA), np.uint8)
        scenes[scene_of(path)].append(image)
    ordered = [Scene(str(path), images) for path, images in scenes.items()]
    held_out = ordered[:: min(HELD_OUT, len(ordered))]
    return [s for i, s in enumerate(ordered) if i % HELD_OUT], held_out


def scene_of(path: Path) -> Path:
    """The folder of a video's frames, or the picture itself."""
    return path.parent if path.parent.name == "img" else path


def described(folders: list[Path], scenes: list[Scene]) -> str:
    """What `scenes` are, in words for a model card."""
    videos = [len(scene.images) for scene in scenes if Path(scene.name).name == "img"]
    names = ", ".join(folder.resolve().name for folder in folders)
    return (
        f"{len(scenes) - len(videos)} pictures and {len(videos)} videos ({sum(videos)} frames) of {names}; "
        f"every {HELD_OUT}th scene held out"
    )


class Crops(IterableDataset[Tensor]):
    """Endless batches of augmented crops, (batch, 3, side, side) uint8 RGB; seeded."""

    def __init__(self, scenes: list[Scene], batch: int, side: int, seed: int) -> None:
        self.scenes, self.batch, self.side, self.seed = scenes, batch, side, seed
        # A video counts more than a picture, less than as many pictures as it has frames.
        weights = np.sqrt([len(s.images) for s in scenes])
        self.probabilities = weights / weights.sum()

    def __iter__(self) -> Iterator[Tensor]:
        cv2.setNumThreads(1)
        worker = get_worker_info()
        random = np.random.default_rng((self.seed, worker.id if worker else 0))
        while True:
            chosen = random.choice(len(self.scenes), self.batch, p=self.probabilities)
            crops = np.stack([self._crop(self.scenes[i], random) for i in chosen])
            _mix(crops, random)
            yield torch.from_numpy(np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2)))

    def _crop(self, scene: Scene, random: np.random.Generator) -> NDArray[np.uint8]:
        """One augmented crop (side, side, 3) BGR: place, scale, aspect, turn, flip, sharpness, colour."""
        image = scene.images[random.integers(len(scene.images))]
        height, width = image.shape[:2]
        side = min(height, width) * math.exp(random.uniform(math.log(0.25), math.log(1.1)))
        zoom, stretch = self.side / side, -2 * random.normal(0, 0.12)
        angle = random.normal(0, 0.15) if random.random() < 0.5 else 0.0
        mirrored = random.random() < 0.5
        centre = random.uniform(0.15, 0.85) * width, random.uniform(0.15, 0.85) * height
        matrix = affine(-angle if mirrored else angle, zoom, stretch, self.side / 2, centre, mirrored)
        method = cv2.INTER_AREA if zoom * math.exp(abs(stretch) / 2) < 0.5 else cv2.INTER_LINEAR
        mean = tuple(float(v) for v in image.mean(axis=(0, 1)))
        border = cv2.BORDER_REFLECT_101 if random.random() < 0.7 else cv2.BORDER_CONSTANT
        crop = cv2.warpAffine(image, matrix, (self.side,) * 2, flags=method, borderMode=border, borderValue=mean)
        if random.random() < 0.3:  # a small or distant target, enlarged
            low = max(8, int(self.side * random.uniform(0.2, 0.8)))
            small = cv2.resize(crop, (low, low), interpolation=cv2.INTER_AREA)
            crop = cv2.resize(small, (self.side,) * 2, interpolation=cv2.INTER_LINEAR)
        return _recolour(np.asarray(crop, np.uint8), random)


def _recolour(crop: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, colour; add noise."""
    values = crop.astype(np.float32)
    if random.random() < 0.8:
        mean = values.mean(axis=(0, 1))
        gain = math.exp(random.normal(0, 0.2)) * np.exp(random.normal(0, 0.08, 3))
        shift = random.normal(0, 15) + random.normal(0, 5, 3)
        values = ((values - mean) * gain + mean + shift).astype(np.float32)
    if random.random() < 0.3:
        grey = values.mean(axis=2, keepdims=True)
        values = grey + (values - grey) * np.float32(random.uniform(0, 1.6))
    if random.random() < 0.3:
        values += random.normal(0, random.uniform(0, 10), values.shape).astype(np.float32)
    return np.clip(values, 0, 255).astype(np.uint8)


def _mix(crops: NDArray[np.uint8], random: np.random.Generator) -> None:
    """Lay a rectangle of its neighbour into a third of the crops, and blend another sixth: new pictures from old."""
    count, side = len(crops), crops.shape[1]
    neighbours = np.roll(crops, 1, axis=0)
    for i in range(count):
        draw = random.random()
        if draw < 1 / 3:
            h, w = (int(v) for v in random.uniform(0.2, 0.8, 2) * side)
            y, x = random.integers(side - h + 1), random.integers(side - w + 1)
            crops[i, y : y + h, x : x + w] = neighbours[i, y : y + h, x : x + w]
        elif draw < 1 / 2:
            share = random.uniform(0.1, 0.5)
            crops[i] = ((1 - share) * crops[i] + share * neighbours[i]).astype(np.uint8)


class Eye(nn.Module):
    """A trunk behind its normalisation: (N, 3, S, S) uint8 RGB -> taps, outputs of the blocks."""

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: MobileNetV3, spec: TrunkSpec) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The expansions of the tapped blocks first, then the outputs of all blocks but the last."""
        x = ((x.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        expansions, outputs = self.trunk.activations(x)
        return [expansions[n - 1] for n in tapped_blocks(self.trunk)] + outputs[:-1]


def tapped_blocks(trunk: MobileNetV3) -> list[int]:
    return [n for numbers in trunk.tapped for n in numbers]


def make_eye(name: str, weights: Path | None, device: torch.device) -> Eye:
    trunk = load_trunk(name, weights)
    if not isinstance(trunk, MobileNetV3):
        raise ModelError(f"{name} is no MobileNetV3")
    eye = Eye(trunk, TRUNKS[name]).to(device)
    return eye.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch documents it


def channel_units(teacher: Eye, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Per feature map of the teacher: 1 / variance of each channel (C,), 0 for the dead; and their number."""
    units = []
    with torch.no_grad():
        maps = [teacher(batch) for batch in batches]
    for layer in zip(*maps, strict=True):
        variance = torch.cat([m.float() for m in layer]).var(dim=(0, 2, 3))
        alive = variance > 1e-6 * variance.median()
        weight = torch.where(alive, 1 / (variance + 1e-3 * variance.median()), 0.0)
        units.append((weight, alive.sum().clamp_min(1)))
    return units


def match_spread(student: Eye, teacher: Eye, batches: list[Tensor]) -> None:
    """Start the norms before the compared maps with the teacher's spread: a good part of training would go into
    shrinking maps that random weights make ten times too large."""
    trunk = student.trunk
    with torch.no_grad():
        deviations = [torch.cat(layer).std(dim=(0, 2, 3)) for layer in zip(*map(teacher, batches), strict=True)]
        blocks = list(trunk.features)[1:]
        tapped = tapped_blocks(trunk)
        layers = [blocks[n - 1].get_submodule("block.0") for n in tapped]
        layers += [list(block.get_submodule("block").children())[-1] for block in blocks[:-1]]
        for layer, deviation in zip(layers, deviations, strict=True):
            norm = layer.get_submodule("1")
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight.copy_(deviation)


def distillation_loss(
    found: list[Tensor], wanted: list[Tensor], units: list[tuple[Tensor, Tensor]], taps: int
) -> tuple[Tensor, list[float]]:
    """Mean over channels of the squared error in units of the channel's variance, per map; the weighted sum."""
    total = torch.zeros((), device=found[0].device)
    parts = []
    for index, (f, w, (weight, alive)) in enumerate(zip(found, wanted, units, strict=True)):
        error = (f - w).square().mean(dim=(0, 2, 3)) @ weight / alive
        parts.append(float(error.detach()))
        total = total + (1.0 if index < taps else OUTPUT_WEIGHT) * error
    return total, parts


def channel_correlation(student: Eye, teacher: Eye, batches: list[Tensor]) -> dict[str, float]:
    """Median over channels of the correlation with the teacher, per tapped block; channels dead in it left out."""
    student.eval()
    sums: dict[int, Tensor] = {}  # block -> (6, C): of 1, f, w, f f, w w, f w
    with torch.no_grad():
        for batch in batches:
            for block, f, w in zip(tapped_blocks(teacher.trunk), student(batch), teacher(batch), strict=False):
                f, w = (m.transpose(0, 1).flatten(1).double() for m in (f, w))
                new = torch.stack([part.sum(1) for part in (torch.ones_like(f), f, w, f * f, w * w, f * w)])
                sums[block] = sums[block] + new if block in sums else new
    result = {}
    for block, (count, *moments) in sums.items():
        f, w, ff, ww, fw = (moment / count for moment in moments)
        f_variance, w_variance = ff - f * f, ww - w * w
        alive = w_variance > 1e-6 * w_variance.median()
        correlation = (fw - f * w) / (f_variance.clamp_min(0) * w_variance).sqrt().clamp_min(1e-12)
        result[f"block{block}"] = round(float(correlation[alive].median()), 4)
    return result


def learning_rate(done: float, peak: float) -> float:
    """Linear warm-up over the first 2 % of training, then a cosine down to 1 % of the peak; `done` in [0, 1]."""
    if done < 0.02:
        return peak * max(done, 1e-4) / 0.02
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - 0.02) / 0.98)))


def stage_of(done: float) -> int:
    """Index into STAGES when the share `done` of all crops has been seen."""
    ends = np.cumsum([share for share, _ in STAGES])
    return min(int(np.searchsorted(ends, done, side="right")), len(STAGES) - 1)


def moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """For AveragedModel: an exponential average that is short at first, so that it forgets the random start."""

    def update(averages: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    return update


class Training:
    """Student, its moving average, optimiser and where they are: all that a checkpoint holds.

    `command` is what was typed, `teacher` says who teaches: both for the record.
    """

    def __init__(self, args: argparse.Namespace, command: str, device: torch.device) -> None:
        torch.manual_seed(args.seed)
        self.commands = [command]
        self.teacher = f"{args.teacher}, {args.teacher_weights.name}, sha256 {sha256_of(args.teacher_weights)}"
        self.name: str = args.student
        self.student = make_eye(args.student, None, device)
        self.student.trunk.train()
        for module in self.student.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in")
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.05  # trunks have torchvision's 0.01, too slow for what changes as fast as here
        self.average = AveragedModel(self.student, multi_avg_fn=moving_average(args.ema), use_buffers=True)
        matrices = [p for p in self.student.parameters() if p.ndim == 4 and p.shape[2:] == (1, 1)]
        others = [p for p in self.student.parameters() if p.ndim != 4 or p.shape[2:] != (1, 1)]
        # Muon takes matrices alone: these share memory with the 1x1 convolutions.
        self.matrices = [(p, nn.Parameter(p.detach().flatten(1))) for p in matrices]
        self.optimisers = (
            torch.optim.Muon(
                [m for _, m in self.matrices],
                lr=args.lr,
                weight_decay=args.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(others, lr=args.lr, weight_decay=0.0),
        )
        self.crops = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []

    def step(self, loss: Tensor, rate: float) -> None:
        """One step downhill at learning rate `rate`."""
        self.student.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        for parameter, matrix in self.matrices:
            matrix.grad = parameter.grad.flatten(1) if parameter.grad is not None else None
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()  # type: ignore[no-untyped-call]
        self.average.update_parameters(self.student)

    def state(self) -> dict[str, Any]:
        return {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "crops": self.crops,
            "seconds": self.seconds,
            "history": self.history,
            "commands": self.commands,
        }

    @property
    def sameness(self) -> dict[str, str]:
        """What a checkpoint must share: the teacher by its weights' SHA-256, for the file may be called otherwise."""
        return {"teacher": self.teacher.split()[-1], "student": self.name}

    def restore(self, path: Path, device: torch.device) -> bool:
        """Go on from the checkpoint at `path`, where there is one. Raises ModelError for one that is broken, of another
        student or teacher."""
        state = read_checkpoint(path, self.sameness, device)
        if state is None:
            return False

        def take_over() -> None:
            self.student.load_state_dict(state["student"])
            self.average.load_state_dict(state["average"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.crops, self.seconds = int(state["crops"]), float(state["seconds"])
            self.history = [dict(row) for row in state["history"]]
            earlier = [str(command) for command in state["commands"] if command not in self.commands]
            self.commands = [*earlier, *self.commands]

        restoring(path, take_over)
        return True


def check(args: argparse.Namespace) -> None:
    """Refuse a command that cannot end well before anything is computed. Raises EdgeTrackerError."""
    check_output(args.output, ".safetensors")
    if not 0 < args.lr < math.inf or not 0 <= args.weight_decay < math.inf:
        raise ConfigError("--lr is positive, --weight-decay is not negative")
    if not 0 <= args.ema < 1 or args.workers < 0 or not args.look_every_s >= 0:
        raise ConfigError("--ema lies in [0, 1), --workers and --look-every-s are not negative")


def train(args: argparse.Namespace, command: str) -> None:
    check(args)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(args.threads)
    teacher = make_eye(args.teacher, args.teacher_weights, device).requires_grad_(False)
    training = Training(args, command, device)
    if [m.shape[1] for m in teacher(probe(device))] != [m.shape[1] for m in training.student(probe(device))]:
        raise ModelError(f"{args.student} and {args.teacher} have maps of different widths")
    if training.restore(checkpoint_path(args.output), device):
        print(f"resuming after {training.crops} crops", file=sys.stderr)
    training_scenes, held_out = read_scenes(args.images)
    data = described(args.images, training_scenes + held_out)
    unseen = take(Crops(held_out, LOOKED_AT, STAGES[-1][1], 1), UNSEEN_BATCHES, device)
    first = take(Crops(training_scenes, LOOKED_AT, STAGES[0][1], 2), UNIT_BATCHES, device)
    units = channel_units(teacher, first)
    if training.crops == 0:
        match_spread(training.student, teacher, first)
    taps = len(tapped_blocks(teacher.trunk))
    side, smooth = STAGES[-1][1], list[float]()
    progress = tqdm(total=args.crops, initial=training.crops, unit=" crops", disable=None, smoothing=0.05)
    while training.crops < args.crops:
        side = STAGES[stage_of(training.crops / args.crops)][1]
        crops = Crops(training_scenes, args.batch, side, args.seed + training.crops)
        loader = DataLoader(
            crops,
            batch_size=None,
            num_workers=args.workers,
            prefetch_factor=4 if args.workers else None,
            worker_init_fn=leave_ctrl_c_to_the_parent,
        )
        last_look = time.monotonic()
        smooth = []
        for batch in loader:
            start = time.monotonic()
            done = training.crops / args.crops
            if STAGES[stage_of(done)][1] != side or done >= 1:
                break
            images = batch.to(device)
            with torch.no_grad():
                wanted = teacher(images)
            loss, parts = distillation_loss(training.student(images), wanted, units, taps)
            if not math.isfinite(sum(parts)):
                raise ModelError(f"the loss is {sum(parts)} after {training.crops} crops: lower --lr")
            training.step(loss, learning_rate(done, args.lr))
            training.crops += len(images)
            training.seconds += time.monotonic() - start
            smooth = parts if not smooth else [0.98 * s + 0.02 * p for s, p in zip(smooth, parts, strict=True)]
            progress.update(len(images))
            if time.monotonic() - last_look > args.look_every_s:
                look(training, teacher, unseen, smooth[:taps], side, data, args.output)
                last_look = time.monotonic()
    progress.close()
    look(training, teacher, unseen, smooth[:taps], side, data, args.output)


def probe(device: torch.device) -> Tensor:
    return torch.zeros(2, 3, 64, 64, dtype=torch.uint8, device=device)


def take(crops: Crops, count: int, device: torch.device) -> list[Tensor]:
    """The first `count` batches."""
    return [batch.to(device) for batch, _ in zip(crops, range(count), strict=False)]


def leave_ctrl_c_to_the_parent(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def look(
    training: Training, teacher: Eye, unseen: list[Tensor], losses: list[float], side: int, data: str, output: Path
) -> None:
    """Measure the averaged student on unseen images; write checkpoint, weights and record. Raises OutputError."""
    student = training.average.module
    assert isinstance(student, Eye)
    found = {
        "crops": training.crops,
        "minutes": round(training.seconds / 60, 1),
        "side": side,
        "losses": [round(v, 4) for v in losses],
        "correlation": channel_correlation(student, teacher, unseen),
    }
    if not training.history or training.history[-1]["crops"] != training.crops:  # else nothing was left to do
        training.history.append(found)
    tqdm.write(json.dumps(found), file=sys.stderr)
    write_checkpoint(checkpoint_path(output), training.sameness, training.state())
    write_weights(output, student.trunk.state_dict())
    record = {
        "teacher": training.teacher,
        "data": data,
        "command": "; then ".join(training.commands),
        "crops": training.crops,
        "hours": round(training.seconds / 3600, 2),
        "correlation": found["correlation"],
        "sha256": sha256_of(output),
        "history": training.history,
    }
    write_text(output.with_suffix(".json"), json.dumps(record, indent=1) + "\n")


@one_line_errors("train_backbone")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for name in TRUNKS if name.startswith(("edge", "mobilenetv3"))]
    # A student's norms are trained; the minimalistic release has them folded into its convolutions.
    students = [name for name in names if not name.endswith("minimalistic")]
    parser.add_argument("--student", choices=students, required=True)
    parser.add_argument("--teacher", choices=names, required=True)
    parser.add_argument("--teacher-weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders of pictures and frames")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--crops", type=positive_int, default=100_000, help="how many to train on (default: %(default)s)"
    )
    parser.add_argument("--batch", type=positive_int, default=32)
    parser.add_argument("--lr", type=float, default=1e-2, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--ema", type=float, default=0.998, help="of the averaged weights, per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that cut crops")
    parser.add_argument("--look-every-s", type=float, default=300.0, help="seconds between measurements")
    args = parser.parse_args(argv)
    train(args, command_line("train_backbone", parser, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
