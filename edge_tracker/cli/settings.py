"""`edge-track settings`: the settings of every tracker, with their defaults, ranges and meanings."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from edge_tracker.methods import METHODS
from edge_tracker.settings import describe, group_of, hints, meaning


class Setting(NamedTuple):
    """One setting of a group of trackers."""

    name: str  # as --set takes it
    hint: Any  # its type with range and meaning
    values: dict[str, str]  # tracker -> default, as --set takes it; a tracker without the setting is left out


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("settings", help="list what --set can change", description=__doc__)
    parser.add_argument("--tracker", choices=tuple(METHODS), help="only the settings of this tracker")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    chosen = [args.tracker] if args.tracker else list(METHODS)
    for kind in dict.fromkeys(type(METHODS[name].config) for name in chosen):
        trackers = {name: METHODS[name].config for name in chosen if type(METHODS[name].config) is kind}
        print(f"Settings of {', '.join(trackers)}. Change one with --set NAME=VALUE.")
        for setting in _settings(kind, trackers):
            print(f"  {setting.name} = {_defaults(setting.values)}")
            print(f"      {meaning(setting.hint)}; {describe(setting.hint)}")
    return 0


def _settings(kind: Any, configs: dict[str, Any], prefix: str = "") -> Iterator[Setting]:
    """The settings of the dataclass `kind`, groups flattened. configs: tracker -> its instance of `kind`."""
    for name, hint in hints(kind).items():
        values = {tracker: getattr(config, name) for tracker, config in configs.items()}
        if (group := group_of(hint)) is not None:
            yield from _settings(group, values, f"{prefix}{name}.")
        else:
            yield Setting(prefix + name, hint, {tracker: _shown(value) for tracker, value in values.items()})


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _defaults(values: dict[str, str]) -> str:
    """The first tracker's default, and those of the others that differ."""
    first, *others = values.items()
    differing = [f"{tracker}: {value}" for tracker, value in others if value != first[1]]
    return first[1] + (f" ({', '.join(differing)})" if differing else "")
