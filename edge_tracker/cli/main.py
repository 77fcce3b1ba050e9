"""Parse the command line and run the command. Errors become one line and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from edge_tracker import __version__
from edge_tracker.backbones.cards import ModelCard
from edge_tracker.backbones.catalogue import PACKAGED
from edge_tracker.cli import batch, bench, config, demo, doctor, evaluate, models, serve, settings, track
from edge_tracker.errors import EdgeTrackerError, first_line, one_line

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
        self.exit(2, f"edge-track: {one_line(message)} (see {self.prog} --help)\n")

    def print_help(self, file: Any = None) -> None:
        """argparse's own would lose it in silence where it cannot be written."""
        print(self.format_help(), end="", file=file)


class OneLineRecords(logging.Formatter):
    """Names of files, and what libraries say, may hold anything."""

    def format(self, record: logging.LogRecord) -> str:
        return f"edge-track: {one_line(super().format(record))}"


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run as Ctrl-C does."""


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
    """Run the command line; returns the exit code: 0, 2 for an error, 130 for Ctrl-C, 143 for SIGTERM, 141 for a
    reader that left."""
    make_standard_files_usable()
    arguments = with_negative_boxes(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        arguments = ["track", *arguments]
    if any("\0" in argument for argument in arguments):  # of a caller in Python; the system's cannot
        print("edge-track: an argument holds the character 0", file=sys.stderr)
        return 2
    told = logging.StreamHandler()
    told.setFormatter(OneLineRecords())
    logging.basicConfig(handlers=[told], level=logging.WARNING)
    try:
        args = parsed(arguments)
        with sigterm_as_interrupt():
            code: int = args.run(args)
        sys.stdout.flush()
        return code
    except EdgeTrackerError as error:
        print(f"edge-track: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("edge-track: interrupted", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    except BrokenPipeError:  # the reader of our output went away, as `head` does: no fault, nothing to say
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:  # what no room foresaw: a full disk behind standard output, a folder not to be entered
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"edge-track: {one_line(where + (error.strerror or first_line(error)))}", file=sys.stderr)
        return 2


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The arguments' values. Raises SystemExit where help was asked for, or they are wrong; OSError where the help
    cannot be written."""
    try:
        return build_parser().parse_args(arguments)
    except SystemExit:
        sys.stdout.flush()
        raise


def make_standard_files_usable() -> None:
    """Standard input, output and error that were closed become /dev/null: the next file to be opened would take the
    place of one, and receive what libraries print there. Names that their encoding does not know are escaped."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises Terminated inside, so that outputs are closed."""

    def on_signal(_: int, __: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def with_negative_boxes(arguments: list[str]) -> list[str]:
    """`--init -5,10,44,44` as `--init=-5,10,44,44`: argparse takes what begins with a minus for an option. Also what is
    meant to be a box, as `-inf,1,5,5`."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--init" and re.match(r"-\.?[0-9]|-[^-=]*,", argument):
            joined[-1] = f"--init={argument}"
        else:
            joined.append(argument)
    return joined


if __name__ == "__main__":
    sys.exit(main())
