"""Fill in a model's card: how it was trained, and how well it tracks.

    python scripts/model_card.py --model models/edge-small.onnx --training edge-small.json --data OTB_DIR

--training: the record that scripts/train_backbone.py has left beside the weights. --data: sequences in OTB's layout, on
which each of --trackers is run; of OTB2013's tasks, where there are any, else all. Either is left as it is on the card
where it is not given, and so are figures of other trackers.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from common import OTB2013, over_seeds
from tqdm import tqdm
from training import one_line_errors

from edge_tracker import Tracker
from edge_tracker.backbones.base import PURPOSES, EngineOptions
from edge_tracker.backbones.cards import LARGEST_CARD, Accuracy, ModelCard, Training
from edge_tracker.backbones.catalogue import find_model
from edge_tracker.backbones.engines import load_backbone
from edge_tracker.cli.models import print_card
from edge_tracker.cli.options import positive_int
from edge_tracker.errors import ConfigError, ModelError, first_line
from edge_tracker.evaluation.datasets import Task, read_tasks
from edge_tracker.methods import TRACKERS
from edge_tracker.settings import decode, from_mapping, hints


def read_training(path: Path, model: Path, card: ModelCard) -> Training:
    """The record at `path`. Raises ModelError where it is none, or one of other weights than the model's."""
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise ModelError(f"{path} has {path.stat().st_size} bytes, more than any record")
        fields = decode(path.read_bytes(), str(path))
        known = {name: fields[name] for name in hints(Training)}
        training, sha256 = from_mapping(Training, known, str(path)), str(fields["sha256"])
    except (OSError, ConfigError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no record of scripts/train_backbone.py: {first_line(error)}") from error
    if not card.weights.endswith(sha256):
        raise ModelError(f"{path} is the record of other weights than {model} was converted from: {card.weights}")
    layers = {
        layer.name for tap in load_backbone(model, EngineOptions(taps=PURPOSES)).info.taps for layer in tap.layers
    }
    if set(training.correlation) != layers:
        raise ModelError(f"{path} has correlations of {', '.join(training.correlation)}, {model} has other blocks")
    return training


def measure(tracker: str, model: Path, tasks: list[Task], data: str, seeds: int, jobs: int) -> Accuracy:
    """OPE of `tracker` with the model over all seeds."""
    with tqdm(total=seeds * len(tasks), desc=tracker, unit=" tasks", disable=None) as progress:
        precision, success = over_seeds(
            lambda seed: partial(Tracker, tracker, model, models_dir=model.parent, seed=seed),
            tasks,
            seeds,
            jobs,
            lambda _: progress.update(),
        )
    values = (precision.mean(), precision.std(), success.mean(), success.std())
    return Accuracy(tracker, data, seeds, *(round(float(value), 2) for value in values))


def fill(args: argparse.Namespace) -> None:
    """Complete the card, and print it. Raises EdgeTrackerError; what was measured until then is on the card."""
    trackers = args.trackers.split(",")
    unknown = sorted(set(trackers) - set(TRACKERS[1:]))
    if unknown:
        raise ConfigError(f"no tracker {', '.join(unknown)}; there are {', '.join(TRACKERS[1:])}")
    if not (args.training or args.data):
        raise ConfigError("nothing to put on the card: give --training, --data or both")
    found = find_model(args.model, args.models_dir)
    model, card = found.path, found.card
    if card is None or not card.describes(model):
        raise ModelError(f"{model} has no card that describes it: convert it anew")
    if args.training:
        card = replace(card, training=read_training(args.training, model, card))
        card.write(model)
    if args.data:
        every = read_tasks(args.data)
        tasks = [task for task in every if task.name in OTB2013]
        data = f"{len(tasks)} tasks of OTB2013" if tasks else f"{len(every)} tasks of {args.data.resolve().name}"
        for tracker in trackers:
            row = measure(tracker, model, tasks or every, data, args.seeds, args.jobs)
            kept = (a for a in card.accuracy if a.tracker != tracker)
            card = replace(card, accuracy=tuple(sorted((*kept, row), key=lambda a: TRACKERS.index(a.tracker))))
            card.write(model)
    print_card(card)


@one_line_errors("model_card")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="path of a model file, or name of the catalogue")
    parser.add_argument("--models-dir", type=Path, help="where to look for it first")
    parser.add_argument("--training", type=Path, metavar="FILE.json", help="what train_backbone.py left behind")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of sequences, OTB layout")
    parser.add_argument("--trackers", default="accurate,fast,fmst", help="run on them (default: %(default)s)")
    parser.add_argument("--seeds", type=positive_int, default=5)
    parser.add_argument("--jobs", type=positive_int, default=1, help="tasks at a time")
    args = parser.parse_args(argv)
    fill(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
