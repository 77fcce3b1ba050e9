"""`edge-track models`: what models there are, where they lie, and whether they are whole."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_tracker.backbones.base import PURPOSES, BackboneInfo, EngineOptions
from edge_tracker.backbones.cards import ModelCard, files_of, sha256_of, size_of_model
from edge_tracker.backbones.catalogue import (
    CATALOGUE,
    COMPANIONS,
    FSNET,
    HEAD,
    WEIGHT_NETWORK,
    Model,
    find_model,
    search_path,
    variants,
)
from edge_tracker.backbones.companion import read_owner
from edge_tracker.backbones.engines import load_backbone, runners
from edge_tracker.cli.options import add_models_dir
from edge_tracker.closed_form.head import load_head
from edge_tracker.errors import EdgeTrackerError, ModelError
from edge_tracker.fmst.weight_files import load_weight_network
from edge_tracker.fsnet.pretrained import read_pretrained

READERS: dict[str, Callable[[Path, BackboneInfo], object]] = {
    HEAD: load_head,
    WEIGHT_NETWORK: load_weight_network,
    FSNET: read_pretrained,
}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("models", help="list, find and check models", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, meaning, function in (
        ("list", "all known models and where they are", list_models),
        ("path", "print the path of a model", print_path),
        ("verify", "check the files that are there against their cards, and load them", verify),
    ):
        action = actions.add_parser(name, help=meaning, description=meaning)
        if name == "path":
            action.add_argument("name", metavar="NAME")
        if name == "verify":
            action.add_argument("name", metavar="NAME", nargs="?", help="default: every model that is there")
        add_models_dir(action)
        action.set_defaults(run=function)


def list_models(args: argparse.Namespace) -> int:
    for entry in CATALOGUE:
        paths = variants(entry.name, args.models_dir)
        print(f"{entry.name}\n    licence   {entry.licence}\n    source    {entry.source}")
        print(f"    accuracy  {entry.accuracy}")
        if not paths:
            print(f"    file      not here; to get it: {entry.how_to_get}")
        for path in paths:
            try:
                print(f"    file      {path}\n    bytes     {size_of_model(path)}")
                print(f"    sha256    {sha256_of(*files_of(path))}")
                card = ModelCard.read(path)
            except ModelError as error:
                print(f"    BROKEN    {error}")
                continue
            if card:
                print_card(card)
    return 0


def print_card(card: ModelCard) -> None:
    """What a card holds beyond what identifies the file."""
    print(f"    trunk     {card.fingerprint}")
    if card.failed_gates:
        print(f"    FORCED    failed these gates: {', '.join(card.failed_gates)}")
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
    print(find_model(args.name, args.models_dir).path)
    return 0


def verify(args: argparse.Namespace) -> int:
    """Every file is looked at, whatever is wrong with another."""
    names = [args.name] if args.name else [entry.name for entry in CATALOGUE]
    paths = [(name, path) for name in names for path in variants(name, args.models_dir)]
    if args.name and not paths:
        find_model(args.name, args.models_dir)  # says where was looked
    folders = tuple(search_path(args.models_dir))
    bad = 0
    for name, path in paths:
        try:
            card = ModelCard.read(path)
            print(f"{name}: {path.name}: {described(path, card)}")
            if not runners(path):
                print(f"{name}: {path.name} was not loaded, no engine for it is installed")
                continue
            info = loaded(path)
            if card and card.fingerprint != info.fingerprint:
                raise ModelError("the file states other weights than its card")
            for what in belonging(Model(path, card, (*folders, path.parent)), info):
                print(f"{name}: {path.name}: {what}")
        except EdgeTrackerError as error:
            bad += 1
            print(f"{name}: {path} is BROKEN: {error}")
    if not paths:
        print("no model is here to verify")
    return 2 if bad else 0


def described(path: Path, card: ModelCard | None) -> str:
    """What a card says of its file. Raises ModelError where the file is another."""
    if card is None:
        return f"no card {path.name}.json to compare it with"
    if difference := card.difference(path):
        raise ModelError(difference)
    return f"whole; {card.bytes} bytes and SHA-256 as on its card"


def loaded(path: Path) -> BackboneInfo:
    """Load a file for as many purposes as it has taps for. Raises ModelError."""
    try:
        return load_backbone(path, EngineOptions(taps=PURPOSES)).info
    except ModelError:
        return load_backbone(path).info


def belonging(model: Model, info: BackboneInfo) -> list[str]:
    """Read what lies beside a model under its name; a line for each. Raises ModelError for a broken file."""
    found = []
    for ending, (what, _) in COMPANIONS.items():
        for path in model.files(info.model, ending):
            if read_owner(path, what).fingerprint != info.fingerprint:
                found.append(f"the {what} {path} is not its own: it belongs to other weights")
                continue
            READERS[ending](path, info)
            found.append(f"the {what} {path} belongs to it")
    return found
