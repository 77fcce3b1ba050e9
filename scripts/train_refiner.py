"""Train the network that refines boxes (`closed_form.refinement`) for a backbone, and put it into its head file.

    python scripts/train_refiner.py --model edge-small --data DIR --photos DIR --head FILE.npz [--hold-out]

Learns from the scenes of refinement_scenes.py: sequences in OTB's layout, and photographs, which need no labels. FILE
is that of scripts/fit_head.py; afterwards scripts/calibrate.py must measure the tracker anew. With --hold-out every
other sequence is not trained on, and the figures printed are theirs. Interrupted, it goes on from
`<head>.checkpoint`.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import check_output, held_out, pictures, sequence_of, write_whole
from numpy.typing import NDArray
from refinement_scenes import View, as_photo, cut_out, detail_scene, object_scene, sequence_scenes
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from edge_tracker.backbones.base import PURPOSES, Backbone
from edge_tracker.backbones.catalogue import find_model, load_backbone
from edge_tracker.boxes import iou
from edge_tracker.cli.options import positive_int
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head, load_head, save_head
from edge_tracker.closed_form.refiner import (
    BINS,
    COARSE,
    CONTEXT,
    FINE,
    MASKS,
    PLACES,
    SHAPES,
    RefinementNetwork,
    colour_grid,
    colours,
)
from edge_tracker.errors import DatasetError, EdgeTrackerError, ModelError, first_line
from edge_tracker.evaluation.absence_metrics import area_under_roc
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.grid import Grid, bin_centres
from edge_tracker.video.images import read_image

SEQUENCE_SCENES, OBJECT_SCENES, DETAIL_SCENES = 8, 12, 4  # of each sequence, object, photograph
PHOTOGRAPH = ""  # in place of a sequence's name
UNSEEN_SCENES = 200  # of photographs, that are not trained on
BATCH, SEQUENCES_SHARE = 48, 0.45
RATE, DECAY, DROPOUT, LARGEST_GRADIENT = 2e-3, 1e-2, 0.2, 5.0
MATCH_WEIGHT = 0.3  # of telling whether it is the target, against the box
NEAR, RIGHT, WRONG = 0.3, 0.5, 0.2  # IoU from which a box is corrected; is the target's; under which it is not
# How far boxes to be corrected are off: of the sides, of log size, of log aspect; a share of them twice as far.
PLACE_OFF, SIZE_OFF, ASPECT_OFF, FARTHER = 0.12, 0.14, 0.22, 0.2
ELSEWHERE, OTHER = 0.2, 0.12  # share of boxes beside the target, and on another scene's target
FARTHEST = 0.8  # an error is learned up to this
SIDES_PX = (8, 150)  # of a box to be corrected, at least and at most
REPORT = 1000  # steps
REPORTED = 16  # batches

Boxes = NDArray[np.float64]


class Look(NamedTuple):
    """What is kept of a view: float16 (n, n, channels) maps, the target's box in pixels of the crop."""

    fine: NDArray[np.float16]
    coarse: NDArray[np.float16]
    colours: NDArray[np.float16]
    box: NDArray[np.float64]


class Scene(NamedTuple):
    sequence: str  # its name, or PHOTOGRAPH
    looks: list[Look]


class Job(NamedTuple):
    """Renders scenes of one sequence, object or photograph."""

    sequence: str
    render: Callable[[], Iterable[list[View] | None]]


def jobs(tasks: Sequence[Task], photos: Sequence[NDArray[np.uint8]], side: int, seed: int, workers: int) -> list[Job]:
    """All that there is to be rendered, each with a seed of its own."""

    def chance(*key: int) -> np.random.Generator:
        return np.random.default_rng([seed, *key])

    with ThreadPoolExecutor(workers) as pool:
        found = tqdm(pool.map(cut_out, photos), "cutting out", len(photos), disable=None)
        objects = [item for item in found if item is not None]
    todo = [
        Job(sequence_of(task.name), partial(sequence_scenes, chance(0, number), task, SEQUENCE_SCENES, side))
        for number, task in enumerate(tasks)
    ]
    for turn in range(OBJECT_SCENES):
        for number in range(len(objects)):
            make = partial(object_scene, chance(1, turn, number), objects, photos, number, side)
            todo.append(Job(PHOTOGRAPH, partial(_one, make)))
    for turn in range(DETAIL_SCENES):
        for number, photo in enumerate(photos):
            todo.append(Job(PHOTOGRAPH, partial(_one, partial(detail_scene, chance(2, turn, number), photo, side))))
    return todo


def _one(make: Callable[[], list[View] | None]) -> list[list[View] | None]:
    return [make()]


def look_at(todo: Sequence[Job], load: Callable[[], Backbone], head: Head, workers: int) -> list[Scene]:
    """Render all scenes and look at them, each worker through a backbone of its own."""
    own = threading.local()
    coarse, fine = head.projections[0].first(COARSE), head.projections[1].first(FINE)

    def look(view: View) -> Look:
        taps = own.backbone(view.patch)
        maps = [m.astype(np.float16) for m in (fine(taps[1]), coarse(taps[0]), colours(view.patch))]
        return Look(maps[0], maps[1], maps[2], np.array(view.box))

    def work(job: Job) -> list[Scene]:
        if not hasattr(own, "backbone"):
            own.backbone = load()
        return [Scene(job.sequence, [look(v) for v in views]) for views in job.render() if views and len(views) > 1]

    with ThreadPoolExecutor(workers) as pool:
        done = list(tqdm(pool.map(work, todo), "rendering", len(todo), disable=None))
    return [scene for scenes in done for scene in scenes]


class Net(nn.Module):
    """A RefinementNetwork that can be trained; `export` gives the NumPy one."""

    places: Tensor
    masks: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed_0, self.embed_1 = _linear("embed.0"), _linear("embed.1")
        self.key, self.value = _linear("key"), _linear("value")
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))
        self.convolve_0, self.convolve_1 = _convolution("convolve.0", 1), _convolution("convolve.1", 2)
        self.head_0, self.head_1 = _linear("head.0"), _linear("head.1")
        self.dropout = nn.Dropout(DROPOUT)
        nn.init.zeros_(self.head_1.weight)
        nn.init.zeros_(self.head_1.bias)
        self.register_buffer("places", torch.from_numpy(PLACES))
        self.register_buffer("masks", torch.from_numpy(MASKS))

    def forward(self, first: Tensor, seen: Tensor) -> Tensor:
        """Samples (n, BINS BINS, channels) of frame 1 and of the box -> its errors and log odds of a match (n, 5)."""
        count = len(seen)
        known, embedded = self._embed(first), self._embed(seen)
        masks = self.masks.expand(count, -1, -1)
        values = torch.cat([self.value(torch.cat([known, masks], 2)), masks[..., :1]], 2)
        keys, wanted = (functional.normalize(self.key(e), dim=2) for e in (known, embedded))
        likeness = wanted @ keys.transpose(1, 2)
        read = (likeness * self.log_sharpness.exp()).softmax(2) @ values
        maps = torch.cat([embedded, read, likeness.amax(2, keepdim=True), self.places.expand(count, -1, -1)], 2)
        maps = maps.transpose(1, 2).reshape(count, -1, BINS, BINS)
        maps = functional.relu(self.convolve_1(functional.relu(self.convolve_0(maps))))
        flat = self.dropout(maps.permute(0, 2, 3, 1).flatten(1))
        said: Tensor = self.head_1(functional.relu(self.head_0(flat)))
        return said

    def _embed(self, samples: Tensor) -> Tensor:
        embedded: Tensor = self.embed_1(functional.relu(self.embed_0(samples)))
        return embedded

    def export(self) -> RefinementNetwork:
        tensors = {"sharpness": self.log_sharpness.exp()}
        for name in SHAPES:
            layer = getattr(self, name.replace(".", "_"))
            weight = layer.weight
            # (out, in, row, column) -> (row column in, out), (out, in) -> (in, out)
            weight = weight.permute(2, 3, 1, 0).flatten(0, 2) if weight.ndim == 4 else weight.T
            tensors |= {f"{name}.weight": weight, f"{name}.bias": layer.bias}
        # As it will be read back from its float16 storage.
        return RefinementNetwork(
            {n: t.detach().numpy().astype(np.float16).astype(np.float32) for n, t in tensors.items()}
        )


def _linear(name: str) -> nn.Linear:
    return nn.Linear(*SHAPES[name])


def _convolution(name: str, step: int) -> nn.Conv2d:
    inputs, outputs = SHAPES[name]
    return nn.Conv2d(inputs // 9, outputs, 3, step, 1)


@dataclass(frozen=True)
class Batch:
    """What the network is shown, and the truth."""

    samples: tuple[Tensor, Tensor]  # of frame 1, of the boxes to be corrected
    errors: Tensor  # (n, 4)
    overlap: Tensor  # (n,) IoU of the boxes to be corrected with the target's, 0 on another target
    boxes: Boxes  # to be corrected, (n, 4)
    truth: Boxes  # (n, 4)


class Sampler:
    """Draws batches from scenes."""

    def __init__(
        self, sequences: Sequence[Scene], photographs: Sequence[Scene], grids: Sequence[Grid], seed: int
    ) -> None:
        """grids: of the fine tap, of the coarse one, of colours."""
        if not sequences or not photographs:
            raise DatasetError("training needs scenes of sequences and of photographs")
        self._sequences, self._photographs, self._grids = sequences, photographs, grids
        self.random = np.random.default_rng(seed)

    def __call__(self, size: int) -> Batch:
        random = self.random
        own = round(SEQUENCES_SHARE * size)
        picked = [self._of_sequence() for _ in range(own)] + [self._of_photograph() for _ in range(size - own)]
        first, seen = (list(column) for column in zip(*picked, strict=True))
        strange = random.random(size) < OTHER
        seen = [seen[(i + size // 3) % size] if strange[i] else look for i, look in enumerate(seen)]
        truth = np.array([look.box for look in seen])
        boxes = self._off(truth)
        aside = (random.random(size) < ELSEWHERE) & ~strange
        angle, way = random.uniform(0, 2 * np.pi, size), random.uniform(0.8, 1.5, size)
        boxes[:, :2] += np.where(aside, way * (np.cos(angle), np.sin(angle)), 0).T * boxes[:, 2:]
        boxes[:, 2:] = boxes[:, 2:].clip(*SIDES_PX)
        overlap = np.where(strange, 0, iou(boxes, truth))
        samples = [self._samples(looks, b) for looks, b in ((first, np.array([k.box for k in first])), (seen, boxes))]
        return Batch(
            (samples[0], samples[1]),
            torch.from_numpy(errors_of(boxes, truth)).float(),
            torch.from_numpy(overlap).float(),
            boxes,
            truth,
        )

    def _of_sequence(self) -> tuple[Look, Look]:
        """Frame 1, any but the last; and a later frame."""
        looks = self._sequences[int(self.random.integers(len(self._sequences)))].looks
        now = int(self.random.integers(1, len(looks)))
        return looks[int(self.random.integers(now))], looks[now]

    def _of_photograph(self) -> tuple[Look, Look]:
        """The first view, and another."""
        looks = self._photographs[int(self.random.integers(len(self._photographs)))].looks
        return looks[0], looks[int(self.random.integers(1, len(looks)))]

    def _off(self, boxes: Boxes) -> Boxes:
        """Boxes that are a little off."""
        chance = self.random.normal(size=(len(boxes), 4))
        chance[self.random.random(len(boxes)) < FARTHER] *= 2
        lw = (SIZE_OFF * chance[:, 2] + ASPECT_OFF / 2 * chance[:, 3]).clip(-1, 1)
        lh = (SIZE_OFF * chance[:, 2] - ASPECT_OFF / 2 * chance[:, 3]).clip(-1, 1)
        return moved(boxes, np.column_stack([PLACE_OFF * chance[:, :2], lw, lh]))

    def _samples(self, looks: Sequence[Look], boxes: Boxes) -> Tensor:
        """As `Refiner` samples them: (n, BINS BINS, channels)."""
        steps = torch.from_numpy(bin_centres(BINS, CONTEXT)).float()
        x, y, w, h = torch.from_numpy(boxes).float().T
        across, down = (x + w / 2)[:, None] + steps * w[:, None], (y + h / 2)[:, None] + steps * h[:, None]
        parts = []
        for number, grid in enumerate(self._grids):
            maps = torch.from_numpy(np.stack([look[number] for look in looks])).float().permute(0, 3, 1, 2)
            unit = [((px - grid.offset_px) / grid.stride) / (grid.cells - 1) * 2 - 1 for px in (across, down)]
            where = torch.stack([unit[0][:, None].expand(-1, BINS, -1), unit[1][..., None].expand(-1, -1, BINS)], 3)
            parts.append(functional.grid_sample(maps, where, padding_mode="border", align_corners=True))
        return torch.cat(parts, 1).flatten(2).transpose(1, 2)


def errors_of(boxes: Boxes, truth: Boxes) -> Boxes:
    """(dx / w, dy / h, dlog w, dlog h) that bring boxes (n, 4) onto the true ones."""
    sides = boxes[:, 2:]
    way = truth[:, :2] + truth[:, 2:] / 2 - boxes[:, :2] - sides / 2
    return np.concatenate([way / sides, np.log(truth[:, 2:] / sides)], axis=1)


def moved(boxes: Boxes, errors: Boxes) -> Boxes:
    """Boxes corrected by `errors`."""
    sides = boxes[:, 2:] * np.exp(errors[:, 2:])
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] * (0.5 + errors[:, :2]) - sides / 2, sides], axis=1)


def loss_of(said: Tensor, batch: Batch) -> Tensor:
    """Of the corrections where the box was near, and of whether it was the target's where that is plain."""
    near = (batch.overlap > NEAR).float()
    distance = functional.smooth_l1_loss(
        said[:, :4], batch.errors.clamp(-FARTHEST, FARTHEST), beta=0.1, reduction="none"
    ).sum(1)
    right = (batch.overlap > RIGHT).float()
    plain = ((batch.overlap > RIGHT) | (batch.overlap < WRONG)).float()
    doubt = functional.binary_cross_entropy_with_logits(said[:, 4], right, reduction="none")
    return (distance * near).sum() / near.sum().clamp_min(1) + MATCH_WEIGHT * (doubt * plain).sum() / plain.sum()


def judge(net: Net, sampler: Sampler) -> str:
    """How well boxes are refined: mean IoU before and after, error of log aspect, AUROC of the match."""
    net.eval()
    sampler.random = np.random.default_rng(3)  # the same batches each time
    with torch.no_grad():
        pairs = [(batch := sampler(BATCH), net(*batch.samples).numpy()) for _ in range(REPORTED)]
    net.train()
    own = np.arange(BATCH) < round(SEQUENCES_SHARE * BATCH)
    texts = []
    for name, chosen in (("sequences", own), ("photographs", ~own)):
        said = np.concatenate([s[chosen] for _, s in pairs]).astype(np.float64)
        boxes, truth = (np.concatenate([getattr(b, n)[chosen] for b, _ in pairs]) for n in ("boxes", "truth"))
        overlap = np.concatenate([b.overlap.numpy()[chosen] for b, _ in pairs])
        near = overlap > NEAR
        after = iou(moved(boxes, said[:, :4].clip(-FARTHEST, FARTHEST)), truth)[near].mean()
        aspect = errors_of(boxes, truth)[near] @ np.array([0, 0, 1, -1])
        left = aspect - said[near, :4] @ np.array([0, 0, 1, -1])
        area = area_under_roc(said[overlap > RIGHT, 4], said[overlap < WRONG, 4])
        texts.append(
            f"{name}: IoU {overlap[near].mean():.3f} -> {after:.3f}, aspect off by {abs(aspect).mean():.3f} -> "
            f"{abs(left).mean():.3f}, match AUROC {area:.3f}"
        )
    return "; ".join(texts)


def read_checkpoint(path: Path, training: dict[str, Any]) -> dict[str, Any] | None:
    """What an interrupted training of this kind has left; None where there was none. Raises ModelError for a file that
    is broken, or of a training with other steps, seed or sequences kept back."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        same = {name: state[name] for name in training} == training
    except Exception as error:  # torch raises many kinds here
        reason = f"it holds no {error}" if isinstance(error, KeyError) else first_line(error)
        raise ModelError(f"cannot resume from {path}: {reason}; delete it to begin anew") from error
    if not same:
        raise ModelError(f"{path} is of another training; delete it to begin anew")
    return state


def train(
    sampler: Sampler, unseen: Sampler, training: dict[str, Any], state: dict[str, Any] | None, checkpoint: Path
) -> Net:
    """Train for training["steps"], on from `state` where there is one."""
    steps, seed = training["steps"], training["seed"]
    torch.manual_seed(seed)
    net = Net()
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    parts: dict[str, Any] = {"net": net, "optimiser": optimiser, "schedule": schedule}
    done = 0
    if state is not None:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done = state["done"]
        sampler.random = np.random.default_rng([seed, done])
    mean = 0.0
    for step in tqdm(range(done + 1, steps + 1), "training", initial=done, total=steps, disable=None):
        batch = sampler(BATCH)
        loss = loss_of(net(*batch.samples), batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        mean += loss.item() / REPORT
        if step % REPORT == 0 or step == steps:
            tqdm.write(f"step {step}: loss {mean:.3f}; {judge(net, unseen)}")
            mean = 0.0
            state = {name: part.state_dict() for name, part in parts.items()}
            write_whole(checkpoint, partial(torch.save, state | training | {"done": step}))
    return net.eval()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name of the catalogue, or path of a model file")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences, OTB layout")
    parser.add_argument("--photos", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--head", type=Path, required=True, help="the .npz file of scripts/fit_head.py; is rewritten")
    parser.add_argument("--hold-out", action="store_true", help="do not train on every other sequence")
    parser.add_argument("--steps", type=positive_int, default=10_000, help="default: %(default)s")
    parser.add_argument("--workers", type=positive_int, default=2, help="threads that render (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        check_output(args.head, ".npz")
        path = find_model(args.model, args.models_dir)
        load = partial(load_backbone, path, purposes=PURPOSES, side=ClosedFormConfig().input_side)
        info = load().info
        head = load_head(args.head, info)
        grids = [Grid.over(info.input_side, tap.stride, tap.receptive_offset_px) for tap in reversed(info.taps)] + [
            colour_grid(info.input_side)
        ]
        photos = [as_photo(read_image(p)) for p in pictures(args.photos)]
        tasks = read_tasks(args.data)
        kept_back = held_out(tasks) if args.hold_out else frozenset()
        training = {"steps": args.steps, "seed": args.seed, "kept_back": sorted(kept_back)}
        checkpoint = args.head.with_name(args.head.name + ".checkpoint")
        state = read_checkpoint(checkpoint, training)
        todo = jobs(tasks, photos, info.input_side, args.seed, args.workers)
        scenes = look_at(todo, load, head, args.workers)
        sequences = [s for s in scenes if s.sequence != PHOTOGRAPH]
        photographs = [s for s in scenes if s.sequence == PHOTOGRAPH]
        np.random.default_rng(args.seed).shuffle(photographs)
        learned = [s for s in sequences if s.sequence not in kept_back]
        judged = [s for s in sequences if s.sequence in kept_back] or sequences
        sampler = Sampler(learned, photographs[UNSEEN_SCENES:], grids, args.seed)
        unseen = Sampler(judged, photographs[:UNSEEN_SCENES], grids, args.seed)
        net = train(sampler, unseen, training, state, checkpoint)
        save_head(args.head, info, replace(head, refinement=net.export()))
        checkpoint.unlink(missing_ok=True)
    except (EdgeTrackerError, OSError) as error:
        print(f"train_refiner: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
