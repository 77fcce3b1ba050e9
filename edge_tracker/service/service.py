"""Cameras, page and outputs as one process: starts them, watches that they go on, ends them in order.

Each camera has a thread of its own; the thread that calls `run` only looks after them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tracker.errors import ConfigError, EdgeTrackerError, OutputError
from edge_tracker.methods import Prepared, prepare
from edge_tracker.outputs.base import Output
from edge_tracker.outputs.open import Origin, open_outputs, refuse_overwriting
from edge_tracker.service.choose import Chooser
from edge_tracker.service.config import CameraConfig, ServiceConfig, without_secrets
from edge_tracker.service.detections import MqttChooser, ProgramChooser
from edge_tracker.service.motion import MotionChooser
from edge_tracker.service.notify import Supervisor
from edge_tracker.service.run import close_all
from edge_tracker.service.state import Remembered
from edge_tracker.service.targets import Targets
from edge_tracker.service.watch import Watch, WatchSummary
from edge_tracker.video.latest import LatestSource
from edge_tracker.video.open import check_source, is_live, is_local, open_source
from edge_tracker.video.source import Source

if TYPE_CHECKING:
    from edge_tracker.outputs.web.page import Page

LOOK_S = 0.25
ENDING_S = 20.0  # for cameras to finish their files
log = logging.getLogger(__name__)


class Service:
    """Opens all that `config` names, and closes it again if one part fails. Raises EdgeTrackerError.

    on_hang: called with a sentence when a camera's computing step does not end; it is expected to end the process.
    """

    def __init__(self, config: ServiceConfig, on_hang: Callable[[str], None]) -> None:
        self.config = config
        self.page: Page | None = None
        self.watches: list[Watch] = []
        self.summaries: dict[str, WatchSummary] = {}
        self._on_hang = on_hang
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()
        self._remembered = None if config.state is None else Remembered(Path(config.state))
        try:
            if config.page.address is not None:
                self.page = opened_page(config.page.address, config.page.names, config.page.token)
            for camera in config.camera:
                self.watches.append(self._watch(camera))
        except BaseException:
            for watch in self.watches:
                watch.abandon()
            if self.page is not None:
                self.page.close()
            raise

    def stop(self) -> None:
        """End soon, files whole. May be called from a signal handler."""
        self._stopping.set()

    def run(self, max_frames: int | None = None) -> None:
        """Until all sources end or `stop` is called. Raises the first failure of a camera, once all have ended."""
        supervisor = Supervisor()
        threads = [
            threading.Thread(target=self._run, args=(watch, max_frames), name=watch.name, daemon=True)
            for watch in self.watches
        ]
        for thread in threads:
            thread.start()
        supervisor.ready()
        deadline: float | None = None
        try:
            while any(thread.is_alive() for thread in threads):
                if self._stopping.wait(LOOK_S) and deadline is None:
                    deadline = time.monotonic() + ENDING_S
                    supervisor.stopping()
                    for watch in self.watches:
                        watch.stop()
                if deadline is not None:
                    time.sleep(LOOK_S / 5)
                    if time.monotonic() > deadline:
                        self._on_hang(f"the cameras did not end within {ENDING_S:.0f} s")
                        break
                self._look_after(supervisor)
        finally:
            for watch in self.watches:
                watch.stop()
            for thread in threads:
                thread.join(ENDING_S)
            if self.page is not None:
                self.page.close()
        if self._failures:
            raise self._failures[0]

    def _look_after(self, supervisor: Supervisor) -> None:
        now = time.monotonic()
        for watch in self.watches:
            since = watch.computing_since
            if since is not None and now - since > self.config.hang_s:
                self._on_hang(f"{watch.name}: a step has been computing for {now - since:.0f} s")
        if all(now - watch.beat < self.config.hang_s or watch.ended for watch in self.watches):
            supervisor.alive()

    def _run(self, watch: Watch, max_frames: int | None) -> None:
        try:
            self.summaries[watch.name] = watch.run(max_frames)
        except BaseException as error:
            if len(self.watches) > 1:
                unforeseen = None if isinstance(error, EdgeTrackerError) else error
                log.error("%s has ended: %s", watch.name, error, exc_info=unforeseen)
            self._failures.append(error)

    def _watch(self, camera: CameraConfig) -> Watch:
        prepared = prepared_tracker(self.config)
        live = is_live(camera.source)
        source = self._source(camera) if live else open_source(camera.source, camera.fps, camera.decoder_threads)
        chooser: Chooser | None = None
        outputs: dict[str, Output] = {}
        try:
            specs = camera.outputs(self.config.output)
            files = [*source.paths, *prepared.files]
            if self.config.state is not None:
                refuse_overwriting([f"jsonl:{self.config.state}"], files)
                files.append(Path(self.config.state))
            opened = open_outputs(specs, files, Origin(source.fps, source.length, camera.name))
            outputs = named_outputs(specs, opened)
            chooser = chooser_of(camera)
            page = None if self.page is None else self.page.camera(camera.name)
            watch = Watch(
                camera.name,
                source,
                Targets(prepared, camera.targets),
                outputs if page is None else outputs | {"page": page},
                first=[(wish.name, wish.box) for wish in camera.wishes if wish.box is not None],
                chooser=chooser,
                remembered=self._remembered if live else None,
                settings=camera.watch,
                hold=not live and self.page is not None,
            )
        except BaseException:
            source.close()
            if chooser is not None:
                chooser.close()
            try:
                close_all(list(outputs.values()), complete=False)
            except OutputError as error:
                log.debug("%s", error)
            raise
        if page is not None:
            page.desk = watch
        return watch

    def _source(self, camera: CameraConfig) -> Source:
        check_source(camera.source)

        def opener() -> Source:
            return open_source(camera.source, camera.fps, camera.decoder_threads)

        patient = not is_local(camera.source) or len(self.config.camera) > 1  # the others do not wait for this one
        return LatestSource(opener, without_secrets(camera.source), camera.live, patient)


def named_outputs(specs: Sequence[str], outputs: Sequence[Output]) -> dict[str, Output]:
    """By their names for people: two that differ in a secret alone are numbered."""
    named: dict[str, Output] = {}
    for spec, output in zip(specs, outputs, strict=True):
        name = without_secrets(spec)
        named[name if name not in named else f"{name} ({len(named) + 1})"] = output
    return named


def chooser_of(camera: CameraConfig) -> Chooser | None:
    """What chooses this camera's targets by itself, None where that is left to people. Raises ConfigError."""
    wishes = [wish for wish in camera.wishes if wish.kind != "box"]
    if len(wishes) > 1:
        raise ConfigError(f"{camera.name}: one of motion and detector, not several")
    for wish in wishes:
        if wish.kind == "motion":
            return MotionChooser(camera.motion if wish.most is None else replace(camera.motion, most=wish.most))
        if wish.kind == "program":
            return ProgramChooser(wish.place, camera.detector)
        return MqttChooser(wish.place, camera.detector)
    return None


def prepared_tracker(config: ServiceConfig) -> Prepared:
    """A session of its own for a camera: its targets belong to its thread. Raises ConfigError or ModelError."""
    return prepare(**asdict(config.tracker))


def opened_page(address: str, names: tuple[str, ...], token: str | None) -> Page:
    """Raises ConfigError where aiohttp is not installed, or the address is none; OutputError where it is taken."""
    try:
        from edge_tracker.outputs.web.page import Page
    except ImportError:
        raise ConfigError("the page needs aiohttp: pip install 'edge-tracker[service]'") from None
    return Page(address, names, token)
