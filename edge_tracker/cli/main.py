"""Parse the command line and run the command. Errors become one line and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import signal
import sys
from typing import Any, NoReturn

from edge_tracker import __version__
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.cli import batch, bench, config, demo, doctor, evaluate, models, serve, settings, track
from edge_tracker.errors import EdgeTrackerError

DESCRIPTION = """\
Track one object in a video, on the CPU.

  edge-track demo
  edge-track --source clip.mp4 --init 412,120,60,140 --output tracked.mp4
  edge-track --camera 0
  edge-track --source rtsp://camera/stream --init motion:3 --output mqtt://broker

Without a command the options are those of `track` (edge-track track --help)."""


class OneLineErrors(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage of some thirty options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"edge-track: {message} (see {self.prog} --help)\n")


class Version(argparse.Action):
    """Prints the version, and by their fingerprints the models that came with it: what a bug report needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        lines = [f"edge-track {__version__}"]
        for path in sorted(PACKAGED.glob("*.onnx.json")):
            card = ModelCard.read(path.with_suffix(""))
            if card is not None and card.precision in ("fp32", "fp16"):
                lines.append(f"  {card.model} {card.fingerprint[:12]}")
        print("\n".join(lines))
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineErrors(
        prog="edge-track", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--version",
        action=Version,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="print the version and the packaged models",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in (track, serve, config, demo, batch, evaluate, bench, models, settings, doctor):
        command.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for an error, 130 for Ctrl-C, 141 for a reader that left."""
    arguments = with_negative_boxes(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        arguments = ["track", *arguments]
    args = build_parser().parse_args(arguments)
    logging.basicConfig(format="edge-track: %(message)s", level=logging.WARNING)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except EdgeTrackerError as error:
        print(f"edge-track: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("edge-track: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does: no fault, nothing to say
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def with_negative_boxes(arguments: list[str]) -> list[str]:
    """`--init -5,10,44,44` as `--init=-5,10,44,44`: argparse takes what begins with a minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--init" and re.match(r"-\.?[0-9]", argument):
            joined[-1] = f"--init={argument}"
        else:
            joined.append(argument)
    return joined


if __name__ == "__main__":
    sys.exit(main())
