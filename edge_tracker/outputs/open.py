"""From what a user writes to an output: one table of patterns, read from the top. Nothing may overwrite an input."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_tracker.errors import EdgeTrackerError, OutputError, refused
from edge_tracker.files import partial_path, written_directly
from edge_tracker.outputs.base import Output, shown
from edge_tracker.outputs.contact_sheet import TILES, ContactSheetOutput
from edge_tracker.outputs.folder import LogOutput, RecordOutput
from edge_tracker.outputs.records import CsvOutput, JsonLinesOutput, MotOutput
from edge_tracker.outputs.video import VideoOutput
from edge_tracker.outputs.webhook import WebhookOutput
from edge_tracker.video.source import NOMINAL_FPS


@dataclass(frozen=True)
class Origin:
    """What an output may want to know of the source: nominal rate, expected frames, the camera's name."""

    fps: float = NOMINAL_FPS
    frames: int | None = None
    camera: str = "camera"


Factory = Callable[[str, Origin], Output]  # of what follows the kind's prefix, or of all of it


def _mqtt(address: str, origin: Origin) -> Output:
    from edge_tracker.outputs.mqtt import MqttOutput

    return MqttOutput(address, origin.camera)


def _prometheus(address: str, origin: Origin) -> Output:
    from edge_tracker.outputs.prometheus import PrometheusOutput

    return PrometheusOutput(address, origin.camera)


def _sheet(path: str, origin: Origin) -> Output:
    return ContactSheetOutput(path, every=-(-(origin.frames or 1) // TILES))


# `KIND:PATH` names the kind where a suffix cannot: pipes, standard output.
OUTPUTS: tuple[tuple[str, Factory], ...] = (
    (r"jsonl:(.+)", lambda path, _: JsonLinesOutput(path)),
    (r"csv:(.+)", lambda path, _: CsvOutput(path)),
    (r"mot:(.+)", lambda path, _: MotOutput(path)),
    (r"log:(.+)", lambda place, origin: LogOutput(place, origin.camera)),
    (r"record:(.+)", lambda place, origin: RecordOutput(place, origin.camera, origin.fps)),
    (r"mqtts?://.*", _mqtt),
    (r"prometheus://.*", _prometheus),
    (r"https?://.*", lambda url, origin: WebhookOutput(url, origin.camera)),
    (r"-|.*\.(?:jsonl|ndjson)", lambda path, _: JsonLinesOutput(path)),
    (r".*\.csv", lambda path, _: CsvOutput(path)),
    (r".*\.mot", lambda path, _: MotOutput(path)),
    (r".*\.(?:mp4|m4v|mov|mkv|avi)", lambda path, origin: VideoOutput(path, origin.fps)),
    (r".*\.(?:png|jpg|jpeg)", _sheet),
)
KNOWN = (
    ".mp4 .mkv .avi .jsonl .csv .mot .png, - for JSON lines on standard output, KIND:PATH, log:FOLDER, record:FOLDER, "
    "mqtt://HOST, prometheus://[HOST]:PORT, https://HOST/HOOK"
)


def open_output(spec: str, origin: Origin | None = None) -> Output:
    """Open what `spec` names by its suffix or scheme. Raises OutputError, ConfigError for an address that is none."""
    factory, place = _resolved(spec)
    with refused(OutputError, f"cannot write {shown(Path(spec))}"):
        return factory(place, origin or Origin())


def open_outputs(specs: Sequence[str], inputs: Iterable[Path] = (), origin: Origin | None = None) -> list[Output]:
    """Open all, or none: raises OutputError where one cannot be written, or would overwrite one of `inputs` or another.

    Files are told apart by what they are, not by how they are spelled: links and partial names count.
    """
    refuse_overwriting(specs, inputs)
    outputs: list[Output] = []
    try:
        for spec in specs:
            outputs.append(open_output(spec, origin))
    except EdgeTrackerError:
        for output in outputs:
            output.close(complete=False)
        raise
    return outputs


def refuse_overwriting(specs: Sequence[str], inputs: Iterable[Path]) -> None:
    """Raise OutputError if writing one of `specs` would touch one of `inputs`, or what another of `specs` writes."""
    taken: dict[object, str] = {}
    for path in inputs:
        for identity in _identities(path):
            taken[identity] = f"what is read: {shown(path)}"
    for spec in specs:
        _, place = _resolved(spec)
        if "://" in place or re.match("log:|record:", spec):
            continue
        path = Path("/dev/stdout" if place == "-" else place)
        with refused(OutputError, f"cannot write {shown(path)}"):
            if path.is_char_device():  # /dev/null, a terminal: nothing there can be overwritten
                continue
            if path.is_dir():
                raise OutputError(f"cannot write {shown(path)}: it is a folder")
            written = [path] if written_directly(path) else [path, partial_path(path)]
        identities = {identity for each in written for identity in _identities(each)}
        for identity in identities:
            if identity in taken:
                raise OutputError(f"{shown(Path(place))} would overwrite {taken[identity]}")
        taken |= dict.fromkeys(identities, f"another output, {shown(Path(place))}")


def _resolved(spec: str) -> tuple[Factory, str]:
    if "\0" in spec or not spec:
        raise OutputError("the name of an output is empty or holds the character 0")
    for pattern, factory in OUTPUTS:
        match = re.fullmatch(pattern, spec, re.DOTALL | re.IGNORECASE)
        if match:
            return factory, next((group for group in match.groups() if group), spec)
    if Path(spec).is_dir():
        raise OutputError(f"cannot write {shown(Path(spec))}: it is a folder")
    raise OutputError(f"cannot tell what to write into {shown(Path(spec))}: an output is {KNOWN}")


def _identities(path: Path) -> list[object]:
    """What a path is, as far as it can be told: where it really lies, and the file that is there."""
    identities: list[object] = [os.path.realpath(path)]
    try:
        found = path.stat()
    except OSError:
        return identities
    # Pipes and devices are not overwritten by being written to twice, but two outputs in one would be mixed.
    return [*identities, (found.st_dev, found.st_ino)]
