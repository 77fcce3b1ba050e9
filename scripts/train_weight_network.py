"""Train the weight-vector network of a backbone (FMST paper, section 4) on sequences in OTB's layout.

    python scripts/train_weight_network.py --model mobilenetv3-small --data TRAIN_DIR --models-dir models --output FILE

`--recipe paper` is the paper's: dense, Eq. 16, consecutive frames, batch 1. `--cross-validate 5` trains on four fifths
of the sequences and tracks the last fifth, for each fifth, and prints a row of docs/trials.md; related sequences (names
that differ in their digits) stay in one fifth. Features are extracted once, to --cache. An interrupted training resumes
from `<output>.checkpoint`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from common import spread
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from training import check_output, checkpoint_path, one_line_errors, read_checkpoint, restoring, write_checkpoint
from weight_objectives import OBJECTIVES, Batch, ObjectiveSettings
from weight_pairs import KINDS, Pairs, load_pairs

from edge_tracker import FmstConfig, Tracker
from edge_tracker.backbones.base import Backbone
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.companion import Owner
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.cli.options import add_work_options, place_of_work
from edge_tracker.errors import EdgeTrackerError
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.evaluation.metrics import Curves, mean_curves
from edge_tracker.evaluation.ope import run_tasks
from edge_tracker.fmst.weight_files import save_weight_network, selection_layers
from edge_tracker.fmst.weight_network import BASES, FORMS, SCORE_LIMIT, WeightNetwork

SHARED_HIDDEN_LAYERS = 2
STOPPING = 10  # one part in so many tells when to stop, as in the paper
START_BIAS = 0.02  # of the output: ReLU6 passes no gradient at 0


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out, beside the pairs."""

    form: str = "shared"
    base: str = "top"
    hidden: int = 8
    objective: str = "overlap"
    pairs: str = "rollout"
    fraction: float = 0.1
    batch: int = 32
    steps: int = 25  # an epoch; 0: once through all pairs
    epochs: int = 6
    patience: int = 3
    rate: float = 3e-3
    settings: ObjectiveSettings = field(default_factory=ObjectiveSettings)


RECIPES = {
    "ours": Recipe(),
    "paper": Recipe("dense", "none", 256, "paper", "consecutive", batch=1, steps=0, epochs=50, patience=20, rate=1e-3),
}


class Net(nn.Module):
    """A WeightNetwork that can be trained; `export` gives the NumPy one."""

    one_hot: Tensor

    def __init__(self, recipe: Recipe, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.recipe, self.layers = recipe, layers
        channels = sum(layers)
        self.register_buffer("one_hot", torch.eye(len(layers)).repeat_interleave(torch.tensor(layers), 0))
        if recipe.form == "dense":
            widths = [channels, recipe.hidden, channels]
        else:
            widths = [3 + len(layers), *[recipe.hidden] * SHARED_HIDDEN_LAYERS, 2]
        parts = ("positive", "negative") if recipe.form == "dense" else ("shared",)
        self.parts = {part: [nn.Linear(*ends) for ends in pairwise(widths)] for part in parts}
        self.all_layers = nn.ModuleList(layer for stack in self.parts.values() for layer in stack)
        if recipe.base == "top":  # begin at the rule of Eq. 5
            for stack in self.parts.values():
                nn.init.normal_(stack[-1].weight, std=0.01)
                nn.init.constant_(stack[-1].bias, START_BIAS)

    def forward(self, scores: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """scores (n, C), first (n, C) -> w_p, w_n (n, C)."""
        count = max(1, round(self.recipe.fraction * scores.shape[1]))
        unit = scores.topk(count, 1).values[:, -1:]
        selected = (scores >= unit).float()
        if self.recipe.form == "dense":
            scaled = scores / scores.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
            positive, negative = self._run("positive", scaled), self._run("negative", -scaled)
        else:
            unit = unit.clamp_min(1e-6)
            each = [(scores / unit).clamp(-SCORE_LIMIT, SCORE_LIMIT), selected]
            each.append((first / unit).clamp(-SCORE_LIMIT, SCORE_LIMIT))
            values = torch.cat([torch.stack(each, 2), self.one_hot.expand(len(scores), -1, -1)], 2)
            positive, negative = self._run("shared", values).unbind(2)
        if self.recipe.base == "top":
            positive = positive + selected
        return nn.functional.relu6(positive), nn.functional.relu6(negative)

    def _run(self, part: str, values: Tensor) -> Tensor:
        for number, layer in enumerate(self.parts[part]):
            values = layer(nn.functional.relu(values) if number else values)
        return values

    def export(self) -> WeightNetwork:
        tensors = {}
        for part, stack in self.parts.items():
            for number, layer in enumerate(stack):
                tensors[f"{part}.{number}.weight"] = _stored(layer.weight.T)
                tensors[f"{part}.{number}.bias"] = _stored(layer.bias)
        recipe = self.recipe
        return WeightNetwork(recipe.form, recipe.base, recipe.fraction, recipe.settings.alpha, self.layers, tensors)


def _stored(tensor: Tensor) -> NDArray[np.float32]:
    """As it will be read back from its float16 storage."""
    return np.ascontiguousarray(tensor.detach().numpy()).astype(np.float16).astype(np.float32)


class Sampler:
    """Draws batches from the pairs of some sequences, each sequence as often as any other."""

    def __init__(self, pairs: Sequence[Pairs], seed: int) -> None:
        self.pairs = [p for p in pairs if len(p)]
        if not self.pairs:
            raise EdgeTrackerError("the sequences hold no pair of frames to learn from")
        self.total = sum(map(len, self.pairs))
        self.generator = np.random.default_rng(seed)

    def __call__(self, size: int) -> Batch:
        chosen = [self.pairs[i] for i in self.generator.integers(len(self.pairs), size=size)]
        rows = [(pairs, int(self.generator.integers(len(pairs)))) for pairs in chosen]

        def column(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(pairs, name)[row] for pairs, row in rows])).float()

        features = column("features")
        previous, truth, scores, first = (column(name) for name in ("previous", "truth", "scores", "first"))
        return Batch(features.flatten(1, 2), previous, truth, scores, first, features.shape[1])


def train(
    recipe: Recipe,
    layers: tuple[int, ...],
    learned: Sequence[Pairs],
    held: Sequence[Pairs],
    seed: int,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> tuple[Net, list[tuple[float, float]]]:
    """Train on `learned`, stop by `held`. Returns the best network and (training, validation) loss of each epoch."""
    torch.manual_seed(seed)
    net = Net(recipe, layers)
    optimiser = torch.optim.Adam(net.parameters(), recipe.rate)
    objective = OBJECTIVES[recipe.objective]
    sampler, chance = Sampler(learned, seed), torch.Generator().manual_seed(seed)
    steps = recipe.steps or sampler.total // recipe.batch
    curve: list[tuple[float, float]] = []
    best = {name: value.clone() for name, value in net.state_dict().items()}
    training = {"recipe": repr(recipe), "seed": seed, "fingerprint": fingerprint}
    state = read_checkpoint(checkpoint, training) if checkpoint is not None else None
    if state is not None and checkpoint is not None:

        def restore() -> None:
            net.load_state_dict(state["best"])  # what is kept must fit, too
            net.load_state_dict(state["net"])
            optimiser.load_state_dict(state["optimiser"])
            curve.extend((float(learned), float(unseen)) for learned, unseen in state["curve"])
            chance.set_state(state["chance"])

        restoring(checkpoint, restore)
        best = state["best"]
        sampler.generator = np.random.default_rng([seed, len(curve)])
    for epoch in range(len(curve), recipe.epochs):
        lowest = min((row[1] for row in curve), default=float("inf"))
        if epoch - next((i for i, row in enumerate(curve) if row[1] == lowest), epoch) > recipe.patience:
            break
        net.train()
        total = 0.0
        for _ in tqdm(range(steps), desc=f"epoch {epoch + 1}", leave=False, disable=None):
            batch = sampler(recipe.batch)
            loss = objective(batch, net(batch.scores, batch.first), recipe.settings, chance)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            total += loss.item()
        curve.append((total / steps, validate(net, held)))
        if curve[-1][1] < lowest:
            best = {name: value.clone() for name, value in net.state_dict().items()}
        if checkpoint is not None:
            now = {"net": net.state_dict(), "best": best, "curve": curve}
            now |= {"optimiser": optimiser.state_dict(), "chance": chance.get_state()}
            write_checkpoint(checkpoint, training, now)
    net.load_state_dict(best)
    return net.eval(), curve


@torch.no_grad()
def validate(net: Net, held: Sequence[Pairs], batches: int = 5, size: int = 32) -> float:
    """The loss on held-out pairs, the same ones each time."""
    net.eval()
    sampler, chance = Sampler(held, 0), torch.Generator().manual_seed(0)
    objective, losses = OBJECTIVES[net.recipe.objective], []
    for _ in range(batches):
        batch = sampler(size)
        losses.append(objective(batch, net(batch.scores, batch.first), net.recipe.settings, chance).item())
    return float(np.mean(losses))


def folds(names: Sequence[str], count: int, seed: int = 7) -> list[list[int]]:
    """Indices of the sequences of each fold, of about equal number; names that differ in digits alone stay together."""
    scenes: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        scenes.setdefault("".join(c for c in name.partition(".")[0] if not c.isdigit()).strip("_"), []).append(index)
    order = np.random.default_rng(seed).permutation(len(scenes))
    members = [list(scenes.values())[i] for i in order]
    found: list[list[int]] = [[] for _ in range(count)]
    for scene in sorted(members, key=len, reverse=True):
        min(found, key=len).extend(scene)
    return found


def tracked(make: partial[Tracker], tasks: Sequence[Task], args: argparse.Namespace) -> Iterator[Curves]:
    """Here, in processes or on a cluster, as `args` say; in the order in which they are ready."""
    make, executor = place_of_work(args, make)
    for result in run_tasks(make, tasks, executor=executor):
        yield result.curves


def cross_validate(
    recipe: Recipe, args: argparse.Namespace, backbone: Backbone, tasks: list[Task], pairs: list[Pairs]
) -> None:
    """Train without each fold, track it; prints precision and success of all sequences, each tracked unseen, as a
    Markdown row per alpha, and writes them to `<output>.json`."""
    layers = selection_layers(backbone.info)
    results: dict[tuple[float, int], list[Curves]] = {}
    begun = time.monotonic()
    for number, fold in enumerate(folds([task.name for task in tasks], args.cross_validate)):
        file = args.output.with_name(f"{args.output.name}.fold{number}")
        learned, held = part(tasks, pairs, fold, args.sequences)
        net, _ = train(recipe, layers, learned, held, args.seed, checkpoint_path(file), backbone.info.fingerprint)
        save_weight_network(file, net.export(), Owner(backbone.info.model, backbone.info.fingerprint))
        unseen = [tasks[i] for i in fold]
        for alpha in args.alphas or [recipe.settings.alpha]:
            for seed in range(args.seeds):
                config = FmstConfig(seed=seed, alpha=alpha)
                make = partial(
                    Tracker, "fmst-net", args.model, models_dir=args.models_dir, config=config, weight_network=file
                )
                results.setdefault((alpha, seed), []).extend(
                    tqdm(
                        tracked(make, unseen, args), desc=f"fold {number}", total=len(unseen), disable=None, leave=False
                    )
                )
    for alpha in args.alphas or [recipe.settings.alpha]:
        means = [mean_curves(results[alpha, seed]) for seed in range(args.seeds)]
        precision, success = (
            100 * np.array(values) for values in ([m.precision_score for m in means], [m.success_score for m in means])
        )
        label = f"{recipe.form} {recipe.hidden} | {recipe.base} | {recipe.objective} | {recipe.pairs} | {alpha:g}"
        print(f"| {backbone.info.model} | {label} | {spread(precision)} | {spread(success)} |", flush=True)
        row = {"model": backbone.info.model, "recipe": dataclasses.asdict(recipe), "alpha": alpha}
        row |= {"precision": precision.tolist(), "success": success.tolist(), "seconds": time.monotonic() - begun}
        with args.output.with_name(args.output.name + ".json").open("a", encoding="utf-8") as file_of_rows:
            file_of_rows.write(json.dumps(row) + "\n")


def part(
    tasks: Sequence[Task], pairs: Sequence[Pairs], unseen: Sequence[int], limit: int | None
) -> tuple[list[Pairs], list[Pairs]]:
    """Pairs to learn from, of at most `limit` sequences, and to stop by, of a tenth of all; none of `unseen`."""
    rest = [i for i in range(len(tasks)) if i not in unseen]
    stop = folds([tasks[i].name for i in rest], STOPPING)[0]
    learned = [pairs[i] for position, i in enumerate(rest) if position not in stop]
    if limit is not None:
        learned = [learned[i] for i in sorted(np.random.default_rng(0).permutation(len(learned))[:limit])]
    return learned, [pairs[rest[position]] for position in stop]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="auto", help="backbone, by name or path")
    parser.add_argument("--models-dir", type=Path, help="where the converted models are")
    parser.add_argument("--data", type=Path, required=True, help="folder of training sequences, OTB layout")
    parser.add_argument("--sequences", type=int, help="learn from so many of them only")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--cache", type=Path, default=Path("out/weight-pairs"), help="folder for extracted features")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="ours")
    parser.add_argument("--form", choices=FORMS)
    parser.add_argument("--base", choices=BASES)
    parser.add_argument("--hidden", type=int, help="units of a hidden layer")
    parser.add_argument("--fraction", type=float, help="of Eq. 5, for the base and the inputs")
    parser.add_argument("--objective", choices=sorted(OBJECTIVES))
    parser.add_argument("--pairs", choices=KINDS)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, help="of an epoch; 0: once through all pairs")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--patience", type=int)
    parser.add_argument("--rate", type=float, help="of Adam")
    parser.add_argument("--alpha", type=float, help="of Eq. 13, in training")
    parser.add_argument("--own-alpha", type=float, help="what the network states as its own (default: --alpha)")
    parser.add_argument("--sigma-wh", type=float, help="of the candidates' size in training")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--rollouts", type=int, default=2, help="times each sequence is tracked for pairs")
    parser.add_argument("--cross-validate", type=int, metavar="K", help="K folds, tracked; writes no network to keep")
    parser.add_argument("--alphas", type=float, nargs="+", help="track with these, cross-validating")
    parser.add_argument("--seeds", type=int, default=2, help="tracked with, cross-validating")
    parser.add_argument("--seed", type=int, default=0)
    add_work_options(parser)  # of the tracking, when cross-validating
    return parser.parse_args(argv)


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe asked for, with what was set otherwise. Raises EdgeTrackerError."""
    recipe = RECIPES[args.recipe]
    given = {f.name: getattr(args, f.name, None) for f in dataclasses.fields(Recipe)}
    settings = {f.name: getattr(args, f.name, None) for f in dataclasses.fields(ObjectiveSettings)}
    recipe = dataclasses.replace(
        recipe,
        settings=dataclasses.replace(recipe.settings, **{k: v for k, v in settings.items() if v is not None}),
        **{k: v for k, v in given.items() if v is not None},
    )
    if min(recipe.hidden, recipe.batch, recipe.epochs, recipe.patience, args.rollouts, args.seeds) < 1:
        raise EdgeTrackerError("hidden, batch, epochs, patience, rollouts and seeds are at least 1")
    if recipe.steps < 0 or not recipe.rate > 0 or not recipe.settings.alpha >= 0 or not 0 < recipe.fraction <= 1:
        raise EdgeTrackerError("steps and alpha are not negative, rate is positive, fraction lies in (0, 1]")
    if args.own_alpha is not None and not 0 <= args.own_alpha <= 10:
        raise EdgeTrackerError(f"own alpha lies between 0 and 10, not {args.own_alpha}")
    if args.sequences is not None and args.sequences < 2:
        raise EdgeTrackerError("at least two sequences are needed, one to learn from and one to stop by")
    return recipe


def run(args: argparse.Namespace) -> None:
    recipe = recipe_of(args)
    check_output(args.output, ".safetensors")
    backbone = load_backbone(find_model(args.model, args.models_dir).path)
    layers = selection_layers(backbone.info)
    tasks = read_tasks(args.data)
    if len(tasks) < 2 or (args.cross_validate or 2) < 2 or (args.cross_validate or 2) > len(tasks):
        raise EdgeTrackerError(f"{len(tasks)} sequences cannot be parted")
    pairs = load_pairs(args.cache, backbone, tasks, recipe.pairs, args.rollouts, args.seed)
    if args.cross_validate:
        cross_validate(recipe, args, backbone, tasks, pairs)
        return
    learned, held = part(tasks, pairs, [], args.sequences)
    checkpoint = checkpoint_path(args.output)
    net, curve = train(recipe, layers, learned, held, args.seed, checkpoint, backbone.info.fingerprint)
    network = net.export()
    if args.own_alpha is not None:
        network = dataclasses.replace(network, alpha=args.own_alpha)
    save_weight_network(args.output, network, Owner(backbone.info.model, backbone.info.fingerprint))
    checkpoint.unlink(missing_ok=True)
    print("| epoch | training loss | validation loss |\n|---|---|---|")
    for number, losses in enumerate(curve, 1):
        print(f"| {number} | {losses[0]:.4f} | {losses[1]:.4f} |")
    print(f"\n{args.output}: {args.output.stat().st_size} bytes, from {len(learned)} sequences, stopped by {len(held)}")


@one_line_errors("train_weight_network")
def main(argv: list[str] | None = None) -> int:
    torch.set_num_threads(1)
    run(parse(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
