"""Options that several commands share."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from edge_tracker.backbones.catalogue import ENGINES
from edge_tracker.config import LAYER_MODES, MAP_TYPES, FmstConfig
from edge_tracker.errors import ConfigError
from edge_tracker.tracker import TRACKERS, Tracker


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def add_models_dir(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="where to look for models first")


def add_tracker_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose and set up a tracker. Read them back with `tracker_factory`."""
    defaults = FmstConfig()
    group = parser.add_argument_group("tracker")
    group.add_argument("--tracker", choices=TRACKERS, default="auto", help="method (default: %(default)s)")
    group.add_argument("--model", default="auto", help="name (edge-track models list) or path (default: %(default)s)")
    group.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="what runs the model")
    group.add_argument("--threads", type=positive_int, default=1, help="threads (default: %(default)s)")
    group.add_argument("--seed", type=int, help="of random draws (default: 0)")
    add_models_dir(group)
    group = parser.add_argument_group("settings of fmst and fmst-net")
    group.add_argument("--maps", choices=MAP_TYPES, default=defaults.maps, help="target maps (default: %(default)s)")
    group.add_argument("--layers", choices=LAYER_MODES, default=defaults.layers, help="layers together or one map each")
    for name, meaning in (
        ("fraction", "share of channels selected"),
        ("alpha", "weight of the negative map"),
        ("eta", "smoothing of the channel scores"),
        ("roi_scale", "side of the region of interest over the target's diagonal"),
        ("sigma_xy", "spread of candidates in position, of the longer side"),
        ("sigma_wh", "spread of candidates in size"),
        ("mean_size", "mean size of candidates over the last size"),
        ("b", "subtracted from the prediction map"),
    ):
        option = "--" + name.replace("_", "-")
        value = getattr(defaults, name)
        standard = "the tracker's own" if value is None else f"{value:.4g}"
        group.add_argument(option, type=float, default=value, help=f"{meaning} (default: {standard})")
    group.add_argument("--weight-network", type=Path, metavar="FILE", help="of fmst-net (default: the model's own)")
    group.add_argument("--candidates", type=int, default=defaults.candidates, help="boxes drawn per frame")
    group.add_argument("--averaged", type=int, default=defaults.averaged, help="best boxes whose mean is taken")


def tracker_factory(args: argparse.Namespace) -> partial[Tracker]:
    """What makes the tracker the user asked for; picklable. Raises ConfigError for a bad setting."""
    settings = {name: getattr(args, name) for name in FmstConfig.__dataclass_fields__ if name != "seed"}
    config = FmstConfig(**settings)
    if not args.tracker.startswith("fmst"):
        changed = [name for name, value in settings.items() if value != getattr(FmstConfig(), name)]
        if changed:
            option = "--" + changed[0].replace("_", "-")
            raise ConfigError(f"{option} is a setting of fmst and fmst-net, not of --tracker {args.tracker}")
    return partial(
        Tracker,
        args.tracker,
        args.model,
        engine=args.engine,
        threads=args.threads,
        models_dir=args.models_dir,
        config=config if args.tracker.startswith("fmst") else None,
        seed=args.seed,
        weight_network=args.weight_network,
    )
