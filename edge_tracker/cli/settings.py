"""`edge-track settings`: every setting of a tracker that `--set NAME=VALUE` and a configuration file may change."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from edge_tracker.methods import METHODS
from edge_tracker.settings import describe, group_of, hints, meaning


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("settings", help="list what --set may change", description=__doc__)
    parser.add_argument("--tracker", choices=METHODS, help="of this tracker alone (default: of all)")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    for name in [args.tracker] if args.tracker else METHODS:
        recipe = METHODS[name]
        print(f"{name}: {recipe.summary}")
        for line in lines(recipe.config):
            print(f"  {line}")
    return 0


def lines(settings: Any, prefix: str = "") -> list[str]:
    """A line for each setting, and one for each group that is off: name, value, what it may be, meaning."""
    found = []
    for name, hint in hints(type(settings)).items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value):
            found += lines(value, f"{prefix}{name}.")
        elif value is None and (group := group_of(hint)):
            found.append(f"{prefix}{name} is off: {first_sentence(group)}")
        else:
            found.append(f"{prefix}{name} = {shown(value)}  ({describe(hint)}; {meaning(hint)})")
    return found


def shown(value: object) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def first_sentence(group: Any) -> str:
    return (group.__doc__ or "").strip().splitlines()[0].rstrip(".")
