"""Parse the command line and hand over to a command. Errors become one line and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import signal
import sys
from typing import NoReturn

from edge_tracker import __version__
from edge_tracker.cli import config, demo, doctor, evaluate, models, serve, track
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


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineErrors(
        prog="edge-track", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"edge-track {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in (track, serve, config, demo, evaluate, models, doctor):
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
