"""Train a trunk for tracking, end to end, from one that sees already: with the projections and the refinement network
of its head, through the ridge filter in closed form.

    python scripts/train_trunk.py --model edge-small --scenes FOLDER --head FILE --output DIR/edge-small.onnx \\
        [--without A,B ...]

FOLDER is what scripts/render_scenes.py wrote, FILE a head of the model, which is left as it is. Beside the model that
is written lies its head, with new projections and refinement network; scripts/train_refiner.py (--begun) goes on with
that, and scripts/calibrate.py must measure the tracker anew. Interrupted, it goes on from `<output>.checkpoint`.

Three things are asked of a pair of views: that the refiner's losses are small (train_refiner.py); that the filter which
frame 1 gives (`closed_form.ridge`, one view) answers the later view with its target's Gaussian; and that the features
stay near those of before. Views are shifted: in the scenes most targets lie in the middle of the crop, and convolutions
that are padded know where that is. A trunk that was trained without answers there, whatever it sees (docs/trials.md).
"""

from __future__ import annotations

import argparse
import copy
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import head_beside
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from train_refiner import (
    LARGEST_GRADIENT,
    RATE_ON,
    Batch,
    Boxes,
    Net,
    Rendered,
    Sampler,
    grids_of,
    judge,
    loss_of,
)
from training import (
    check_output,
    checkpoint_path,
    command_line,
    one_line_errors,
    read_checkpoint,
    resumed,
    write_checkpoint,
    write_weights,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from any folder

from converters import to_onnx
from converters.trunks import TRUNKS, MobileNetV3, load_trunk
from edge_tracker.backbones.base import PURPOSES, EngineOptions, Projection
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.catalogue import Model, find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.cli.options import positive_int
from edge_tracker.closed_form.config import ClosedFormConfig, PlaceSettings
from edge_tracker.closed_form.head import Head, load_head, save_head
from edge_tracker.closed_form.place import target_map
from edge_tracker.closed_form.refinement_network import COARSE, FINE
from edge_tracker.closed_form.refiner import colours
from edge_tracker.errors import ModelError
from edge_tracker.grid import Grid

GROUPS = 12  # of scenes in a batch, see train_refiner.py
FROZEN = 2  # first layers of the trunk, which stay as they are
RATE, DECAY = 1e-4, 1e-2  # learning rate of the trunk; weight decay of the refinement network
SHIFT_PX = 40  # of a view, at most, along each axis
RIDGE_WEIGHT, PLACE_WEIGHT, DISTILLATION_WEIGHT = 0.3, 0.06, 0.1  # of the losses, against the refiner's
WORST_ANSWER = 4.0  # the ridge filter's error is learned up to this
SHARPNESS = 10.0  # of the softmax over the places of an answer
REPORT = 500  # steps


class Eye(nn.Module):
    """A trunk and a head's projections."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: Path, head: Head, taps: tuple[str, str]) -> None:
        """weights: float ONNX file. taps: names of the coarse one and the fine one. Raises ModelError."""
        super().__init__()
        spec, trunk = TRUNKS[name], load_trunk(name, weights)
        if not isinstance(trunk, MobileNetV3):
            raise ModelError(f"{name} is no MobileNetV3")
        self.trunk = trunk  # in evaluation mode: its batch norms are folded
        self.register_buffer("mean", 255 * torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(spec.std).view(1, 3, 1, 1))
        for tap, channels, own in zip(taps, (COARSE, FINE), ("coarse", "fine"), strict=True):
            projection = head.projections[tap].first(channels)
            self.register_parameter(f"{own}_directions", nn.Parameter(torch.tensor(projection.directions)))
            self.register_parameter(f"{own}_offset", nn.Parameter(torch.tensor(projection.offset)))

    def forward(self, patches: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """patches (n, side, side, 3), BGR -> fine and coarse features (n, channels, rows, columns)."""
        pixels = torch.from_numpy(patches).to(self.mean.device).flip(3).permute(0, 3, 1, 2).float()
        coarse, fine = self.trunk(((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last))
        return self._projected(fine, "fine"), self._projected(coarse, "coarse")

    def projection(self, own: str) -> Projection:
        directions, offset = (
            self.get_parameter(f"{own}_{part}").detach().cpu().numpy() for part in ("directions", "offset")
        )
        return Projection(directions.copy(), offset.copy())

    def _projected(self, maps: Tensor, own: str) -> Tensor:
        directions, offset = (self.get_parameter(f"{own}_{part}") for part in ("directions", "offset"))
        return torch.einsum("nchw,cd->ndhw", maps, directions) - offset.view(1, -1, 1, 1)


class Looked(Rendered):
    """The rendered scenes, each view of a batch shifted, with what an eye makes of it."""

    def __init__(self, folder: Path, eye: Eye, seed: int) -> None:
        super().__init__(folder)
        self._eye = eye
        self.device = eye.mean.device
        self.random = np.random.default_rng(seed)

    def begin(self, views: NDArray[np.intp]) -> None:
        shifts = self.random.integers(-SHIFT_PX, SHIFT_PX + 1, (len(views), 2))
        self._views, self._shifts = views, shifts
        self._pictures = np.stack(
            [moved_picture(self.patches[view], *by) for view, by in zip(views, shifts.tolist(), strict=True)]
        )
        small = torch.from_numpy(np.stack([colours(picture) for picture in self._pictures]))
        self._maps = (*self._eye(self._pictures), small.to(self.device).permute(0, 3, 1, 2))

    def maps(self, kind: int, views: NDArray[np.intp]) -> Tensor:
        return self._maps[kind][torch.from_numpy(np.searchsorted(self._views, views)).to(self.device)]

    def placed(self, views: NDArray[np.intp], boxes: Boxes) -> Boxes:
        return boxes + np.pad(self._shifts[np.searchsorted(self._views, views)], ((0, 0), (0, 2)))

    def strayed(self, before: Eye) -> Tensor:
        """How far all features of this batch lie from those of `before`, in units of their variance."""
        with torch.no_grad():
            old = before(self._pictures)
        distances = [functional.mse_loss(new, maps) / maps.var() for new, maps in zip(self._maps, old, strict=False)]
        return torch.stack(distances).sum()


def moved_picture(picture: NDArray[np.uint8], right: int, down: int) -> NDArray[np.uint8]:
    """Shifted by pixels; the border is repeated."""
    shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = picture.shape[1::-1]
    return np.asarray(
        cv2.warpAffine(picture, shift, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def answers(scenes: Rendered, grid: Grid, batch: Batch) -> tuple[Tensor, Tensor]:
    """What the ridge filter of each frame 1 answers to the later view, and its target's Gaussian there: (n, cells)
    each. grid: of the coarse tap."""
    known, wanted = (neighbourhoods(scenes.maps(1, views)) for views in batch.views)
    learned, target = (
        gaussians(grid, scenes.placed(views, scenes.box[views])).to(scenes.device) for views in batch.views
    )
    return ridge_answers(known, learned, wanted), target


def neighbourhoods(maps: Tensor) -> Tensor:
    """As `ridge.neighbourhoods`, but for the order: (n, channels, rows, columns) -> (n, cells, 9 channels + 1)."""
    cells = functional.unfold(maps, 3, padding=1).transpose(1, 2)
    return torch.cat([cells, torch.ones_like(cells[..., :1])], 2)


def ridge_answers(known: Tensor, learned: Tensor, wanted: Tensor) -> Tensor:
    """Answers (n, m) to rows `wanted` (n, m, K) of filters that were fitted to rows `known` (n, c, K) and answers
    `learned` (n, c); in the dual form, whose matrices are smaller."""
    products = known @ known.transpose(1, 2)
    damping = PlaceSettings().ridge * known.square().sum((1, 2)) / known.shape[2]
    damped = products + damping[:, None, None] * torch.eye(known.shape[1], device=known.device)
    return (wanted @ (known.transpose(1, 2) @ torch.linalg.solve(damped, learned[..., None])))[..., 0]


def gaussians(grid: Grid, boxes: Boxes) -> Tensor:
    """What a filter shall answer where a target lies, as `Place` has it: (n, cells)."""
    sigma = PlaceSettings().target_sigma
    return torch.from_numpy(np.stack([target_map(grid, tuple(box), sigma) for box in boxes.tolist()]))


def answer_loss(answers: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of a ridge filter's answers, and their mean error in units of the target's energy."""
    error = (answers - target).square().sum(1) / target.square().sum(1)
    shares = target / target.sum(1, keepdim=True)
    place = -(functional.log_softmax(SHARPNESS * answers, 1) * shares).sum(1).mean()
    return RIDGE_WEIGHT * error.clamp(max=WORST_ANSWER).mean() + PLACE_WEIGHT * place, error.mean().detach()


def train(
    eye: Eye,
    net: Net,
    seen: tuple[Looked, Sampler],
    unseen: tuple[Looked, Sampler],
    coarse: Grid,
    training: dict[str, Any],
    state: dict[str, Any] | None,
    checkpoint: Path,
) -> None:
    """Train both for training["steps"], on from `state` where there is one; judge them on `unseen`."""
    scenes, sampler = seen
    steps, seed = training["steps"], training["seed"]
    torch.manual_seed(seed)
    before = copy.deepcopy(eye).requires_grad_(False)
    for layer in list(eye.trunk.features)[:FROZEN]:
        layer.requires_grad_(False)
    moving = [parameter for parameter in eye.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": list(net.parameters()), "weight_decay": DECAY},
            {"params": moving, "weight_decay": 0.0},
        ],
        RATE_ON,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [RATE_ON, RATE], total_steps=steps, pct_start=0.1)
    parts: dict[str, Any] = {"eye": eye, "net": net, "optimiser": optimiser, "schedule": schedule}
    done = resumed(parts, state, checkpoint)
    if done:
        sampler.random, scenes.random = (np.random.default_rng([seed, done, k]) for k in range(2))
    errors: list[Tensor] = []
    for step in tqdm(range(done + 1, steps + 1), "training", initial=done, total=steps, mininterval=20):
        batch = sampler()
        answered, error = answer_loss(*answers(scenes, coarse, batch))
        loss = loss_of(net, batch) + answered + DISTILLATION_WEIGHT * scenes.strayed(before)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for trained in (list(net.parameters()), moving):
            nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        errors.append(error)
        if step % REPORT == 0 or step == steps:
            unseen[0].random = np.random.default_rng(3)  # the same shifts each time
            tqdm.write(f"step {step}: ridge error {torch.stack(errors).mean():.3f}; {judge(net, unseen[1])}")
            errors.clear()
            now = {name: part.state_dict() for name, part in parts.items()}
            write_checkpoint(checkpoint, training, now | {"done": step})


def write(output: Path, begun: Model, command: str, eye: Eye, net: Net, head: Head) -> None:
    """Write the model, its card, which adds `command` to the training of the one that was begun with, and its head
    beside it. Raises EdgeTrackerError."""
    name = output.stem
    with tempfile.TemporaryDirectory() as folder:
        weights, model = Path(folder) / f"{name}.safetensors", Path(folder) / output.name
        write_weights(weights, eye.trunk.state_dict())
        options = ["--model", name, "--weights", str(weights), "--precision", "fp16", "--output", str(model)]
        if to_onnx.main(options):
            raise ModelError("the trained trunk could not be converted")
        info = load_backbone(model, EngineOptions(taps=PURPOSES)).info
        taps = {info.tap("selection").name: "coarse", info.tap("localisation").name: "fine"}
        projections = {tap: eye.projection(own) for tap, own in taps.items()}
        save_head(head_beside(output), info, replace(head, projections=projections, refinement=net.export()))
        shutil.copy(model, output)
        card = ModelCard.read(model)
        assert card is not None  # the converter has just written it
        if begun.card and (before := begun.card.training):
            card = replace(card, training=replace(before, command=f"{before.command}; then {command}"))
        card.write(output)


@one_line_errors("train_trunk")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=sorted(TRUNKS), help="which network")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--scenes", type=Path, required=True, help="folder of scripts/render_scenes.py")
    parser.add_argument("--head", type=Path, required=True, help="a head of the model with which it begins")
    parser.add_argument("--without", default="", metavar="A,B", help="do not train on sequences with these beginnings")
    parser.add_argument("--output", type=Path, required=True, help="the .onnx file to write, with the model's name")
    parser.add_argument("--steps", type=positive_int, default=5000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    check_output(args.output, ".onnx")
    if args.output.stem not in TRUNKS:
        raise ModelError(f"--output is named for a model, one of {', '.join(TRUNKS)}, not {args.output.stem}")
    side = ClosedFormConfig().input_side
    model = find_model(args.model, args.models_dir)
    backbone = load_backbone(model.path, EngineOptions(taps=PURPOSES, height=side, width=side))
    head = load_head(args.head, backbone.info)
    if head.refinement is None:
        raise ModelError(f"{args.head} has no refinement network: scripts/train_refiner.py")
    training = {"steps": args.steps, "seed": args.seed, "kept_back": args.without}
    training["fingerprint"] = backbone.info.fingerprint
    checkpoint = checkpoint_path(args.output)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = read_checkpoint(checkpoint, training, device)
    taps = backbone.info.tap("selection").name, backbone.info.tap("localisation").name
    eye, net = Eye(args.model, model.path, head, taps).to(device), Net().to(device)
    net.take(head.refinement)
    grids = grids_of(backbone)
    scenes, others = (Looked(args.scenes, eye, args.seed) for _ in range(2))
    chosen, judged = scenes.parted(args.without)
    sampler, unseen = (
        Sampler(looked, which, grids, args.seed, GROUPS) for looked, which in ((scenes, chosen), (others, judged))
    )
    train(eye, net, (scenes, sampler), (others, unseen), grids[1], training, state, checkpoint)
    write(args.output, model, command_line("train_trunk", parser, args), eye, net, head)
    checkpoint.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
