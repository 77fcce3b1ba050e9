"""Runs a service from the command line: signals, the page's address, and the end of a process that hangs."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

from edge_tracker.cli.options import chosen
from edge_tracker.errors import ConfigError, OutputError
from edge_tracker.service.config import CameraConfig, PageConfig, ServiceConfig
from edge_tracker.service.service import Service
from edge_tracker.video.open import is_live

DEFAULT_PAGE = "127.0.0.1:8080"
ANY_PORT = "127.0.0.1:0"
INTERRUPTED = 130  # exit code
HANGS = 70  # exit code (EX_SOFTWARE): the supervisor is to start us again


def service_config(args: argparse.Namespace, spec: str) -> ServiceConfig:
    """The options of `track` as a configuration."""
    camera = CameraConfig(
        source=spec,
        init=tuple(wish.text for wish in args.init),
        output=tuple(args.output),
        fps=args.fps,
        decoder_threads=1 if is_live(spec) else args.threads,
    )
    address = args.web if args.web is not None or args.init else DEFAULT_PAGE
    return ServiceConfig((camera,), page=PageConfig(address), tracker=chosen(args), state=args.state)


def run_service(config: ServiceConfig, max_frames: int | None, quiet: bool, fallback: bool = False) -> int:
    """Run until all sources end, or a signal. fallback: where the page's port is taken, any other will do."""
    try:
        service = Service(config, on_hang)
    except OutputError:
        if not fallback or config.page.address != DEFAULT_PAGE:
            raise
        service = Service(replace(config, page=replace(config.page, address=ANY_PORT)), on_hang)
    except ConfigError as error:
        if fallback and "aiohttp" in str(error):
            raise ConfigError(f"--init X,Y,W,H says what to follow; {error}") from error
        raise
    if service.page is not None:
        print(f"edge-track: choose and watch on {service.page.url}", file=sys.stderr, flush=True)
        if service.page.token is None and not quiet:
            print("edge-track: from other machines: --web 0.0.0.0:8080, with a token", file=sys.stderr, flush=True)
    with Signals(service.stop) as signals:
        service.run(max_frames)
    if not quiet:
        for name, summary in service.summaries.items():
            print(f"{name}: {summary.frames} frames, {summary.lost_frames} with a target LOST", file=sys.stderr)
    if all(summary.complete for summary in service.summaries.values()):
        return 0
    print("edge-track: interrupted", file=sys.stderr)
    return 128 + signals.received


class Signals:
    """The first Ctrl-C, SIGTERM or SIGHUP (the terminal is gone; not under nohup) calls `stop`, which ends with files
    whole; a second one ends at once."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.received = 0  # the number of the first one
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type] # what signal.signal gave

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.received:  # whatever the threads are doing: they may hang
            os.write(2, b"edge-track: interrupted\n")
            os._exit(INTERRUPTED)
        self.received = number
        self._stop()


def on_hang(reason: str) -> None:
    """End the process at once: what hangs cannot be asked to."""
    print(
        f"edge-track: {reason}; the process ends, so that its supervisor starts it again", file=sys.stderr, flush=True
    )
    faulthandler.dump_traceback(all_threads=True)
    os._exit(HANGS)
