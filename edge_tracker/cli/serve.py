"""`edge-track serve FILE`: cameras, outputs and page as a configuration file names them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_tracker.cli.live import run_service
from edge_tracker.service.config import load_config


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("serve", help="run a configuration file: cameras, outputs, page", description=__doc__)
    parser.add_argument("config", type=Path, metavar="FILE", help="TOML (docs/service.md)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the file")
    parser.add_argument("--quiet", action="store_true", help="no summary")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    return run_service(load_config(args.config, tuple(args.set)), None, args.quiet)
