"""`edge-track models`: what models there are, where they lie, whether they are whole, and how to get them."""

from __future__ import annotations

import argparse
from typing import Any

from converters.downloads import pull
from edge_tracker.backbones.catalogue import (
    CATALOGUE,
    ModelCard,
    entry_of,
    files_of,
    find_model,
    load_backbone,
    runners,
    sha256_of,
    size_of_model,
    variants,
)
from edge_tracker.cli.options import add_models_dir


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("models", help="list, find, check and get models", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, meaning, function in (
        ("list", "all known models and where they are", list_models),
        ("path", "print the path of a model", print_path),
        ("verify", "check the files that are there against their cards, and load them", verify),
        ("pull", "download official weights and convert them", pull_model),
    ):
        action = actions.add_parser(name, help=meaning, description=meaning)
        if name in ("path", "pull"):
            action.add_argument("name", metavar="NAME")
        if name == "verify":
            action.add_argument("name", metavar="NAME", nargs="?", help="default: every model that is there")
        add_models_dir(action)
        action.set_defaults(run=function)


def list_models(args: argparse.Namespace) -> int:
    for entry in CATALOGUE:
        print(f"{entry.name}\n    licence   {entry.licence}\n    source    {entry.source}")
        print(f"    accuracy  {entry.accuracy}")
        if not variants(entry.name, args.models_dir):
            hint = f"edge-track models pull {entry.name}" if entry.weights else "convert it from its weights"
            print(f"    file      not here: {hint}")
            continue
        for path in variants(entry.name, args.models_dir):
            print(
                f"    file      {path}\n    bytes     {size_of_model(path)}\n    sha256    {sha256_of(*files_of(path))}"
            )
            card = ModelCard.read(path)
            if card:
                print_card(card)
    return 0


def print_card(card: ModelCard) -> None:
    """What a card holds beyond what identifies the file."""
    if card.failed_gates:
        print(f"    FORCED    written in spite of: {', '.join(card.failed_gates)}")
    if card.training:
        t = card.training
        likeness = ", ".join(f"{block} {value:.3f}" for block, value in t.correlation.items())
        print(f"    training  {t.crops} crops in {t.hours:.1f} h, from {t.data}")
        print(f"    teacher   {t.teacher}\n    likeness  correlation with it on unseen pictures: {likeness}")
        print(f"    command   {t.command}")
    for a in card.accuracy:
        precision = f"precision {a.precision:.1f} ± {a.precision_deviation:.1f} %"
        success = f"success {a.success:.1f} ± {a.success_deviation:.1f} %"
        print(f"    tracking  {a.tracker}: {precision}, {success}; {a.data}, {a.seeds} seeds")


def print_path(args: argparse.Namespace) -> int:
    print(find_model(args.name, args.models_dir))
    return 0


def verify(args: argparse.Namespace) -> int:
    names = [args.name] if args.name else [entry.name for entry in CATALOGUE]
    if args.name:
        find_model(args.name, args.models_dir)
    paths = [(name, path) for name in names for path in variants(name, args.models_dir)]
    bad = 0
    for name, path in paths:
        if not runners(path):
            print(f"{name}: {path.name} was not loaded, no engine for it is installed")
        else:
            load_backbone(path)
        card = ModelCard.read(path)
        if card is None:
            print(f"{name}: {path.name} has no card {path.name}.json to compare it with")
        elif card.describes(path):
            print(f"{name}: {path.name} is whole; {card.bytes} bytes and SHA-256 as on its card")
        else:
            bad += 1
            print(f"{name}: {path.name} DIFFERS from its card {path.name}.json: convert or pull it again")
    if not paths:
        print("no model is here to verify")
    return 2 if bad else 0


def pull_model(args: argparse.Namespace) -> int:
    print(pull(entry_of(args.name), args.models_dir))
    return 0
