"""`edge-track config show|check FILE`: what a configuration file says, with all defaults, or whether it is right."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edge_tracker.methods import AUTOMATIC, prepare
from edge_tracker.service.config import load_config, shown_config


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("config", help="check or show a configuration file", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action, text in (
        ("show", show, "all settings, defaults too, without passwords"),
        ("check", check, "say whether it is right"),
    ):
        command = actions.add_parser(name, help=text, description=text)
        command.add_argument("config", type=Path, metavar="FILE")
        command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting")
        command.set_defaults(run=action)


def show(args: argparse.Namespace) -> int:
    print(shown_config(load_config(args.config, tuple(args.set))), end="")
    return 0


def check(args: argparse.Namespace) -> int:
    config = load_config(args.config, tuple(args.set))
    tracker = config.tracker
    if tracker.tracker == "auto":  # of these the first will do: which of them is not timed here
        tracker = replace(tracker, tracker=AUTOMATIC[0])
    prepare(**asdict(tracker))
    print(f"{args.config} is right: {', '.join(camera.name for camera in config.camera)}")
    return 0
