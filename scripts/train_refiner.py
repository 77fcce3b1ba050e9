"""Train the network that refines boxes and tells targets apart (`closed_form.refiner`) for a backbone, and put it into
its head file.

    python scripts/train_refiner.py --model edge-small --scenes FOLDER --head FILE [--without A,B ...]

FOLDER is what scripts/render_scenes.py wrote; what the backbone makes of it is kept in a folder of its own there. FILE
is that of scripts/fit_head.py; afterwards scripts/calibrate.py must measure the tracker anew. The sequences whose
names begin as --without says are not trained on, and the figures printed are theirs. Interrupted, it goes on from
`<head>.checkpoint`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from training import check_output, checkpoint_path, read_checkpoint, resumed, write_checkpoint

from edge_tracker.backbones.base import PURPOSES, Backbone, EngineOptions
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.boxes import deltas, iou, moved
from edge_tracker.cli.options import positive_int
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.head import Head, load_head, save_head
from edge_tracker.closed_form.refinement_network import (
    BINS,
    COARSE,
    COLOUR_SPLIT,
    CONTEXT,
    FINE,
    INNER,
    MASKS,
    PARTS,
    PLACES,
    SHAPES,
    RefinementNetwork,
)
from edge_tracker.closed_form.refiner import colour_grid, colours
from edge_tracker.errors import DatasetError, EdgeTrackerError
from edge_tracker.evaluation.absence_metrics import area_under_roc
from edge_tracker.files import whole_file
from edge_tracker.grid import Grid, bin_centres

GROUP, GROUPS = 4, 12  # scenes of one kind, which must be told apart; such groups in a batch
SEQUENCES_SHARE = 0.5  # of the groups, from sequences and videos
RATE_ON = 1e-3  # learning rate of a network that was trained before
RATE, DECAY, DROPOUT, LARGEST_GRADIENT = 2e-3, 1e-2, 0.15, 5.0
MATCH_WEIGHT, SCALE_WEIGHT, IDENTITY_WEIGHT = 0.3, 0.05, 0.2  # of the losses, against that of the box
TEMPERATURE = 0.1  # of the identity
NEAR, RIGHT, WRONG = 0.3, 0.5, 0.2  # IoU from which a box is corrected; is the target's; under which it is not
# How far boxes to be corrected are off: of the sides, of log size, of log aspect; a share of them twice as far.
PLACE_OFF, SIZE_OFF, ASPECT_OFF, FARTHER = 0.12, 0.14, 0.22, 0.2
ELSEWHERE, OTHER, STRANGE = 0.12, 0.3, 0.12  # share of boxes beside the target; on another, where one is to be seen;
# on the target of another scene
FARTHEST = 0.8  # an error is learned up to this
SIDES_PX = (8, 150)  # of a box to be corrected, at least and at most
UNSEEN_NAMES = 20  # every so-many-th photograph is not trained on
REPORT = 1000  # steps
REPORTED = 16  # batches

CPU = torch.device("cpu")

Boxes = NDArray[np.float64]


class Rendered(ABC):
    """The rendered scenes: what is true of them, and, by one way or another, maps of their views."""

    device = CPU  # where the maps are

    def __init__(self, folder: Path) -> None:
        """Raises DatasetError where nothing was rendered."""
        try:
            with np.load(folder / "scenes.npz") as truth:
                self.box = truth["box"].astype(np.float64)
                self.others = truth["others"].astype(np.float64)
                scene = truth["scene"]
                self.kind, self.sequence, self.name = truth["kind"], truth["sequence"], truth["name"]
            self.patches: NDArray[np.uint8] = np.load(folder / "patches.npy", mmap_mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"cannot read the scenes of {folder}: {error}") from error
        self.first = np.searchsorted(scene, np.arange(len(self.kind)))  # view of each scene
        self.views = np.bincount(scene, minlength=len(self.kind))

    def begin(self, views: NDArray[np.intp]) -> None:  # noqa: B027 - some have nothing to do
        """Before a batch. views: all whose maps it will ask for, once each."""

    @abstractmethod
    def maps(self, kind: int, views: NDArray[np.intp]) -> Tensor:
        """Maps of views, (n, channels, rows, columns). kind: 0 fine features, 1 coarse ones, 2 colours."""

    def placed(self, views: NDArray[np.intp], boxes: Boxes) -> Boxes:  # noqa: ARG002 - others shift views
        """Where boxes of these views lie on their maps."""
        return boxes

    def parted(self, without: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Scenes to be trained on, and those on which a training is judged. without: beginnings of the names of
        sequences, separated by commas, which are not trained on but judged, where there are any."""
        still = self.sequence == ""
        photographs = {name: number for number, name in enumerate(np.unique(self.name[still]).tolist())}
        kept = np.array([photographs.get(str(name), 1) % UNSEEN_NAMES == 0 for name in self.name]) & still
        beginnings = tuple(filter(None, without.split(",")))
        back = np.array([str(name).startswith(beginnings) if beginnings else False for name in self.sequence])
        own_scenes = ~(still | np.char.startswith(self.name.astype(str), "masks "))
        return ~kept & ~back, kept | ((back & own_scenes) if back.any() else own_scenes)


class Scenes(Rendered):
    """With what a backbone makes of them: float16 maps of each view, on disk."""

    def __init__(self, folder: Path, backbone: Backbone, head: Head, device: torch.device = CPU) -> None:
        """Raises DatasetError where nothing was rendered."""
        super().__init__(folder)
        self.device = device
        turned = b"".join(p.directions.tobytes() + p.offset.tobytes() for p in head.projections.values())
        own = folder / f"{backbone.info.fingerprint[:16]}-{hashlib.sha256(turned).hexdigest()[:8]}"
        sizes = [(grid.cells, channels) for grid, channels in zip(grids_of(backbone), (FINE, COARSE, 3), strict=True)]
        paths = [own / f"{name}.npy" for name in ("fine", "coarse", "colours")]
        rendered = (folder / "scenes.npz").stat().st_mtime  # scenes may be rendered anew into the same folder
        if not all(path.is_file() and path.stat().st_mtime >= rendered for path in paths):
            self._look(own, paths, sizes, backbone, head)
        # Only read, whatever torch thinks; a GPU holds them all (80 kB for each view).
        self._maps = [torch.from_numpy(np.load(path, mmap_mode="r+")).to(device) for path in paths]

    def maps(self, kind: int, views: NDArray[np.intp]) -> Tensor:
        return self._maps[kind][torch.from_numpy(views).to(self.device)].float().permute(0, 3, 1, 2)

    def _look(
        self,
        own: Path,
        paths: Sequence[Path],
        sizes: Sequence[tuple[int, int]],
        backbone: Backbone,
        head: Head,
    ) -> None:
        own.mkdir(exist_ok=True)
        info = backbone.info
        coarse_tap, fine_tap = info.tap("selection"), info.tap("localisation")
        coarse, fine = head.projections[coarse_tap.name].first(COARSE), head.projections[fine_tap.name].first(FINE)
        coarse_at, fine_at = info.place_of("selection"), info.place_of("localisation")
        count = len(self.box)
        with contextlib.ExitStack() as stack:
            maps = [
                open_memmap(stack.enter_context(whole_file(path)), "w+", np.float16, (count, cells, cells, channels))
                for path, (cells, channels) in zip(paths, sizes, strict=True)
            ]
            for i in tqdm(range(count), "looking", mininterval=20):
                patch = np.ascontiguousarray(self.patches[i])
                taps = backbone(patch)
                maps[0][i], maps[1][i], maps[2][i] = fine(taps[fine_at]), coarse(taps[coarse_at]), colours(patch)
            for array in maps:
                array.flush()


def grids_of(backbone: Backbone) -> list[Grid]:
    """Of the fine tap, of the coarse one, of colours."""
    side, info = ClosedFormConfig().input_side, backbone.info
    taps = info.tap("localisation"), info.tap("selection")
    return [Grid.over(side, tap.stride, tap.receptive_offset_px) for tap in taps] + [colour_grid(side)]


class Net(nn.Module):
    """A RefinementNetwork that can be trained; `export` gives the NumPy one."""

    places: Tensor
    masks: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embed_0, self.embed_1 = _linear("embed.0"), _linear("embed.1")
        self.key, self.value = _linear("key"), _linear("value")
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))
        self.narrow = _linear("narrow")
        self.convolve_0, self.convolve_1 = _convolution("convolve.0", 1), _convolution("convolve.1", 2)
        self.head_0, self.head_1 = _linear("head.0"), _linear("head.1")
        self.identity = _linear("identity")
        self.dropout = nn.Dropout(DROPOUT)
        nn.init.zeros_(self.head_1.weight)
        nn.init.zeros_(self.head_1.bias)
        self.register_buffer("places", torch.from_numpy(PLACES))
        self.register_buffer("masks", torch.from_numpy(MASKS))

    def forward(self, first: Tensor, seen: Tensor) -> Tensor:
        """Samples (n, BINS BINS, channels) of frame 1 and of the box -> its errors, log odds of a match, and log
        scales of what is left of the errors (n, 9)."""
        count = len(seen)
        known, embedded = self._embed(first), self._embed(seen)
        masks = self.masks.expand(count, -1, -1)
        values = torch.cat([self.value(torch.cat([known, masks], 2)), masks[..., :1]], 2)
        keys, wanted = (functional.normalize(self.key(e), dim=2) for e in (known, embedded))
        likeness = wanted @ keys.transpose(1, 2)
        read = (likeness * self.log_sharpness.exp()).softmax(2) @ values
        maps = torch.cat([embedded, read, likeness.amax(2, keepdim=True), self.places.expand(count, -1, -1)], 2)
        maps = self.narrow(maps).transpose(1, 2).reshape(count, -1, BINS, BINS)
        maps = functional.relu(self.convolve_1(functional.relu(self.convolve_0(maps))))
        flat = self.dropout(maps.permute(0, 2, 3, 1).flatten(1))
        said: Tensor = self.head_1(functional.relu(self.head_0(flat)))
        return said

    def identify(self, inner: Tensor) -> Tensor:
        """Samples (n, INNER INNER, channels) of the box itself -> unit vectors (n, IDENTITY)."""
        each = INNER // PARTS
        pooled = self._embed(inner).reshape(len(inner), PARTS, each, PARTS, each, -1).mean((2, 4)).flatten(1)
        return functional.normalize(self.identity(pooled), dim=1)

    def _embed(self, samples: Tensor) -> Tensor:
        embedded: Tensor = self.embed_1(functional.relu(self.embed_0(samples)))
        return embedded

    @torch.no_grad()
    def take(self, network: RefinementNetwork) -> None:
        """Go on from what was exported; what is not there begins anew."""
        self.log_sharpness.fill_(float(np.log(network.sharpness)))
        for name in SHAPES:
            layer = getattr(self, name.replace(".", "_"))
            if f"{name}.weight" not in network.tensors:
                continue
            weight, bias = (torch.from_numpy(network.tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
            if layer.weight.ndim == 4:
                out, inputs, rows, columns = layer.weight.shape
                weight = weight.reshape(rows, columns, inputs, out).permute(3, 2, 0, 1)
            else:
                weight = weight.T
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)

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
            {n: t.detach().cpu().numpy().astype(np.float16).astype(np.float32) for n, t in tensors.items()}
        )


def _linear(name: str) -> nn.Linear:
    return nn.Linear(*SHAPES[name])


def _convolution(name: str, step: int) -> nn.Conv2d:
    inputs, outputs = SHAPES[name]
    return nn.Conv2d(inputs // 9, outputs, 3, step, 1)


@dataclass(frozen=True)
class Batch:
    """What the network is shown, and the truth."""

    views: tuple[NDArray[np.intp], NDArray[np.intp]]  # (n,) of frame 1, later ones
    samples: tuple[Tensor, Tensor]  # of frame 1, of the boxes to be corrected
    inner: tuple[Tensor, Tensor, Tensor]  # of the target in frame 1, of it now, of a rival beside it
    same: Tensor  # (n, n) bool: both scenes show one object
    errors: Tensor  # (n, 4)
    overlap: Tensor  # (n,) IoU of the boxes to be corrected with the target's, 0 on another target
    boxes: Boxes  # to be corrected, (n, 4)
    truth: Boxes  # (n, 4)
    sequences: NDArray[np.bool_]  # (n,) which come from sequences


class Sampler:
    """Draws batches from some of the scenes."""

    def __init__(
        self, scenes: Rendered, chosen: NDArray[np.bool_], grids: Sequence[Grid], seed: int, groups: int = GROUPS
    ) -> None:
        """chosen: (scenes,) those to be drawn. grids: of the fine tap, of the coarse one, of colours. groups: of GROUP
        scenes, in a batch."""
        moving = (scenes.sequence != "") & chosen
        self._scenes, self._grids, self._groups = scenes, grids, groups
        self._still = np.flatnonzero((scenes.sequence == "") & chosen)
        self._by_name = [np.flatnonzero(moving & (scenes.name == name)) for name in np.unique(scenes.name[moving])]
        if not len(self._still) or not self._by_name:
            raise DatasetError("training needs scenes of sequences and of photographs")
        kinds = scenes.kind[self._still]
        self._by_kind = {kind: self._still[kinds == kind] for kind in np.unique(kinds)}
        names: dict[str, list[int]] = {}
        for number, own in enumerate(self._by_name):
            names.setdefault(str(scenes.kind[own[0]]), []).append(number)
        self._kin = names
        self.random = np.random.default_rng(seed)

    @property
    def device(self) -> torch.device:
        return self._scenes.device

    def __call__(self) -> Batch:
        random, scenes, count = self.random, self._scenes, self._groups * GROUP
        own = np.repeat(random.random(self._groups) < SEQUENCES_SHARE, GROUP)
        picked = np.concatenate([self._moving() if own[i] else self._standing() for i in range(0, count, GROUP)])
        first, seen = self._views(picked, own)
        scenes.begin(np.union1d(first, seen))
        strange = random.random(count) < STRANGE
        mate = np.arange(count) // GROUP * GROUP + (np.arange(count) + 1) % GROUP
        looked = np.where(strange, seen[mate], seen)
        truth = scenes.box[looked]
        boxes = self._off(truth)
        angle, way = random.uniform(0, 2 * np.pi, count), random.uniform(0.8, 1.5, count)
        shift = (way * (np.cos(angle), np.sin(angle))).T
        aside = (random.random(count) < ELSEWHERE) & ~strange
        boxes[:, :2] += np.where(aside[:, None], shift, 0) * boxes[:, 2:]
        others = scenes.others[seen, random.integers(scenes.others.shape[1], size=count)]
        there = np.isfinite(others).all(axis=1)
        there[there] &= iou(others[there], scenes.box[seen][there]) < WRONG
        on_other = there & ~strange & ~aside & (random.random(count) < OTHER)
        boxes[on_other] = self._off(others[on_other])
        boxes[:, 2:] = boxes[:, 2:].clip(*SIDES_PX)
        overlap = np.where(strange, 0, iou(boxes, truth))
        right = self._off(scenes.box[seen], 0.5)
        rivals = scenes.box[seen].copy()
        rivals[:, :2] += (shift * 1.1) * rivals[:, 2:]
        rivals[there] = self._off(others[there], 0.5)
        names = scenes.name[picked]
        return Batch(
            (first, seen),
            (self._samples(first, scenes.box[first]), self._samples(looked, boxes)),
            (
                self._samples(first, scenes.box[first], INNER, 1.0),
                self._samples(seen, right, INNER, 1.0),
                self._samples(seen, rivals, INNER, 1.0),
            ),
            torch.from_numpy(names[:, None] == names).to(scenes.device),
            torch.from_numpy(deltas(boxes, truth)).float().to(scenes.device),
            torch.from_numpy(overlap).float().to(scenes.device),
            boxes,
            truth,
            own,
        )

    def _moving(self) -> NDArray[np.intp]:
        """Scenes of GROUP sequences, of one kind where there are such."""
        random = self.random
        number = int(random.integers(len(self._by_name)))
        kin = self._kin[str(self._scenes.kind[self._by_name[number][0]])]
        pool = kin if len(kin) >= GROUP and random.random() < 0.8 else range(len(self._by_name))
        numbers = random.choice(np.array(pool), GROUP, replace=len(pool) < GROUP)
        return np.array([random.choice(self._by_name[n]) for n in numbers])

    def _standing(self) -> NDArray[np.intp]:
        """Scenes of GROUP photographs of one kind."""
        kind = str(self._scenes.kind[self.random.choice(self._still)])
        pool = self._by_kind[kind]
        return self.random.choice(pool, GROUP, replace=len(pool) < GROUP)

    def _views(self, picked: NDArray[np.intp], moving: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Frame 1 and a later one: of sequences any, of photographs the first view and any other."""
        start, count = self._scenes.first[picked], self._scenes.views[picked]
        now = self.random.integers(1, count)
        first = np.where(moving, self.random.integers(0, np.maximum(now, 1)), 0)
        return start + first, start + now

    def _off(self, boxes: Boxes, share: float = 1.0) -> Boxes:
        """Boxes that are a little off."""
        chance = share * self.random.normal(size=(len(boxes), 4))
        chance[self.random.random(len(boxes)) < FARTHER] *= 2
        lw = (SIZE_OFF * chance[:, 2] + ASPECT_OFF / 2 * chance[:, 3]).clip(-1, 1)
        lh = (SIZE_OFF * chance[:, 2] - ASPECT_OFF / 2 * chance[:, 3]).clip(-1, 1)
        return moved(boxes, np.column_stack([PLACE_OFF * chance[:, :2], lw, lh]))

    def _samples(self, views: NDArray[np.intp], boxes: Boxes, bins: int = BINS, context: float = CONTEXT) -> Tensor:
        """As `Refiner` samples them: (n, bins bins, channels)."""
        x, y, w, h = self._scenes.placed(views, boxes).T
        parts = []
        for kind, (grid, split) in enumerate(zip(self._grids, (1, 1, COLOUR_SPLIT), strict=True)):
            side = bins * split
            steps = bin_centres(side, context)
            px = np.stack([(x + w / 2)[:, None] + steps * w[:, None], (y + h / 2)[:, None] + steps * h[:, None]])
            maps = self._scenes.maps(kind, views)
            places = torch.from_numpy((px - grid.offset_px) / grid.stride / (grid.cells - 1) * 2 - 1).float()
            places = places.to(maps.device)
            across, down = places[0][:, None].expand(-1, side, -1), places[1][:, :, None].expand(-1, -1, side)
            where = torch.stack([across, down], 3)
            taken = functional.grid_sample(maps, where, padding_mode="border", align_corners=True)
            of_sample = taken.permute(0, 2, 3, 1).reshape(len(views), bins, split, bins, -1).transpose(2, 3)
            parts.append(of_sample.reshape(len(views), bins * bins, -1))
        return torch.cat(parts, 2)


def loss_of(net: Net, batch: Batch) -> Tensor:
    """Of the corrections where the box was near, of what is said of their errors, of whether it was the target's where
    that is plain, and of telling targets apart."""
    said = net(*batch.samples).float()
    near = (batch.overlap > NEAR).float()
    count = near.sum().clamp_min(1)
    wanted = batch.errors.clamp(-FARTHEST, FARTHEST)
    distance = functional.smooth_l1_loss(said[:, :4], wanted, beta=0.1, reduction="none").sum(1)
    log_scale = said[:, 5:].clamp(-5, 1)
    left = (said[:, :4] - wanted).abs().detach()
    laplace = (left * (-log_scale).exp() + log_scale).sum(1)
    right = (batch.overlap > RIGHT).float()
    plain = ((batch.overlap > RIGHT) | (batch.overlap < WRONG)).float()
    doubt = functional.binary_cross_entropy_with_logits(said[:, 4], right, reduction="none")
    first, now, rivals = (net.identify(inner).float() for inner in batch.inner)
    return (
        (distance * near).sum() / count
        + SCALE_WEIGHT * (laplace * near).sum() / count
        + MATCH_WEIGHT * (doubt * plain).sum() / plain.sum()
        + IDENTITY_WEIGHT * identity_loss(first, now, rivals, batch.same)
    )


def identity_loss(first: Tensor, now: Tensor, rivals: Tensor, same: Tensor) -> Tensor:
    """Cross-entropy of finding each target of frame 1 among all targets and rivals of now (InfoNCE, van den Oord et al.
    2018); another view of the same object is neither."""
    logits = first @ torch.cat([now, rivals]).T / TEMPERATURE
    own = torch.eye(len(first), dtype=torch.bool, device=first.device)
    unsaid = torch.cat([same & ~own, same & ~own], 1)
    return functional.cross_entropy(logits.masked_fill(unsaid, -1e4), torch.arange(len(first), device=first.device))


def judge(net: Net, sampler: Sampler) -> str:
    """How well boxes are refined: mean IoU before and after, error of log aspect, AUROC of the match and of identity,
    error rate where both errors are equal (EER)."""
    net.eval()
    sampler.random = np.random.default_rng(3)  # the same batches each time
    with torch.no_grad():
        batches = [sampler() for _ in range(REPORTED)]
        answers = [net(*b.samples).cpu().numpy() for b in batches]
        vectors = [[net.identify(inner).cpu() for inner in b.inner] for b in batches]
    net.train()
    texts = []
    for name in ("sequences", "photographs"):
        chosen = [b.sequences if name == "sequences" else ~b.sequences for b in batches]
        said = np.concatenate([s[c] for s, c in zip(answers, chosen, strict=True)]).astype(np.float64)
        boxes, truth = (
            np.concatenate([getattr(b, n)[c] for b, c in zip(batches, chosen, strict=True)]) for n in ("boxes", "truth")
        )
        overlap = np.concatenate([b.overlap.cpu().numpy()[c] for b, c in zip(batches, chosen, strict=True)])
        near = overlap > NEAR
        after = iou(moved(boxes, said[:, :4].clip(-FARTHEST, FARTHEST)), truth)[near].mean()
        off = deltas(boxes, truth)[near]
        left = abs(off - said[near, :4])
        sure = np.corrcoef(left.ravel(), np.exp(said[near, 5:]).ravel())[0, 1]
        area = area_under_roc(said[overlap > RIGHT, 4], said[overlap < WRONG, 4])
        own, rival = (
            np.concatenate([(v[0] * v[k]).sum(1).numpy()[c] for v, c in zip(vectors, chosen, strict=True)])
            for k in (1, 2)
        )
        texts.append(
            f"{name}: IoU {overlap[near].mean():.3f} -> {after:.3f}, left {left.mean(axis=0).round(3).tolist()}, "
            f"corr. with scale {sure:.2f}, match AUROC {area:.3f} "
            f"EER {equal_error(said[overlap > RIGHT, 4], said[overlap < WRONG, 4]):.3f}, "
            f"identity EER {equal_error(own, rival):.3f}"
        )
    return "; ".join(texts)


def equal_error(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Error rate at the threshold where as many positives are missed as negatives are taken."""
    thresholds = np.sort(np.concatenate([positive, negative]))
    missed = np.searchsorted(np.sort(positive), thresholds) / len(positive)
    taken = 1 - np.searchsorted(np.sort(negative), thresholds) / len(negative)
    k = int(abs(missed - taken).argmin())
    return float((missed[k] + taken[k]) / 2)


def train(
    sampler: Sampler,
    unseen: Sampler,
    training: dict[str, Any],
    state: dict[str, Any] | None,
    checkpoint: Path,
    begun: RefinementNetwork | None = None,
) -> Net:
    """Train for training["steps"], on from `state` where there is one; from the weights of `begun` where that is."""
    steps, seed = training["steps"], training["seed"]
    torch.manual_seed(seed)
    net = Net()
    rate = RATE
    if begun is not None:
        net.take(begun)
        rate = RATE_ON
    device = sampler.device
    net.to(device)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    parts: dict[str, Any] = {"net": net, "optimiser": optimiser, "schedule": schedule}
    done = resumed(parts, state, checkpoint)
    if done:
        sampler.random = np.random.default_rng([seed, done])
    mean = torch.zeros((), device=device)
    for step in tqdm(range(done + 1, steps + 1), "training", initial=done, total=steps, mininterval=20):
        batch = sampler()
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(net, batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        mean += loss.detach() / REPORT
        if step % REPORT == 0 or step == steps:
            tqdm.write(f"step {step}: loss {mean.item():.3f}; {judge(net, unseen)}")
            mean.zero_()
            now = {name: part.state_dict() for name, part in parts.items()}
            write_checkpoint(checkpoint, training, now | {"done": step})
    return net.eval()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name of the catalogue, or path of a model file")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--scenes", type=Path, required=True, help="folder of scripts/render_scenes.py")
    parser.add_argument("--head", type=Path, required=True, help="the file of scripts/fit_head.py; is rewritten")
    parser.add_argument("--without", default="", metavar="A,B", help="do not train on sequences with these beginnings")
    parser.add_argument("--begun", type=Path, help="go on from the network of this file")
    parser.add_argument("--mean", action="store_true", help="write the mean of the weights of --begun and the new ones")
    parser.add_argument("--steps", type=positive_int, default=10_000, help="default: %(default)s")
    parser.add_argument("--groups", type=positive_int, default=GROUPS,
                        help=f"of {GROUP} scenes, in a batch (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.mean and not args.begun:
        parser.error("--mean is of the network of --begun and the new one")
    try:
        check_output(args.head, ".safetensors")
        side = ClosedFormConfig().input_side
        options = EngineOptions(taps=PURPOSES, height=side, width=side)
        backbone = load_backbone(find_model(args.model, args.models_dir).path, options)
        info = backbone.info
        head = load_head(args.head, info)
        training = {"steps": args.steps, "seed": args.seed, "kept_back": args.without, "fingerprint": info.fingerprint}
        training["groups"] = args.groups
        checkpoint = checkpoint_path(args.head)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        state = read_checkpoint(checkpoint, training, device)
        scenes = Scenes(args.scenes, backbone, head, device)
        chosen, judged = scenes.parted(args.without)
        grids = grids_of(backbone)
        sampler = Sampler(scenes, chosen, grids, args.seed, args.groups)
        begun = load_head(args.begun, info).refinement if args.begun else None
        net = train(sampler, Sampler(scenes, judged, grids, args.seed), training, state, checkpoint, begun)
        trained = net.export()
        if begun is not None and args.mean:
            trained = RefinementNetwork(
                {n: np.asarray((t + begun.tensors[n]) / 2, np.float32) for n, t in trained.tensors.items()}
            )
        save_head(args.head, info, replace(head, refinement=trained))
        checkpoint.unlink(missing_ok=True)
    except (EdgeTrackerError, OSError) as error:
        print(f"train_refiner: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
