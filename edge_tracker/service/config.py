"""A service's configuration: one TOML file for cameras, tracker, outputs and page, checked before anything starts."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from edge_tracker.backbones.base import MOST_THREADS
from edge_tracker.errors import ConfigError, first_line
from edge_tracker.files import read_text
from edge_tracker.outputs.folder import file_name
from edge_tracker.outputs.open import refuse_overwriting
from edge_tracker.outputs.web.address import parsed_address
from edge_tracker.service.choose import Wish, parsed_wish
from edge_tracker.service.detections import DetectorSettings
from edge_tracker.service.motion import MotionSettings
from edge_tracker.service.targets import TargetSettings, checked_name
from edge_tracker.service.watch import WatchSettings
from edge_tracker.settings import Above, Between, assign, check, expand_environment, from_mapping, hints, meaning
from edge_tracker.video.latest import LiveSettings
from edge_tracker.video.open import check_source, is_live
from edge_tracker.video.urls import HIDDEN, masked

LARGEST = 1 << 20  # bytes of a file
SECRET_FIELDS = ("token",)
_CREDENTIALS = re.compile(r"(?<=://)[^/?#@]*(?=@)")  # user and password in an address


@dataclass(frozen=True)
class TrackerConfig:
    """Which tracker; the arguments of `Tracker` that a text can state."""

    tracker: Annotated[str, "method"] = "auto"
    model: Annotated[str, "name or path"] = "auto"
    engine: Annotated[str, "what runs the model"] = "auto"
    threads: Annotated[int, Between(1, MOST_THREADS), "of the engine"] = 1
    device: Annotated[Literal["cpu", "cuda"], "where ONNX Runtime computes"] = "cpu"
    models_dir: Annotated[str | None, "where to look for models first"] = None
    seed: Annotated[int | None, "of the method's random draws"] = None
    settings: Annotated[tuple[str, ...], "NAME=VALUE, of the method"] = ()
    weight_network: Annotated[str | None, "of fmst-net, a file"] = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class PageConfig:
    """The page for choosing and watching targets."""

    address: Annotated[str | None, "[HOST:]PORT; none: no page"] = None
    names: Annotated[tuple[str, ...], "further host names by which it is asked for, as behind a proxy"] = ()
    token: Annotated[str | None, "for other addresses than the loopback's; none: a new one at each start"] = None

    def __post_init__(self) -> None:
        check(self)
        if self.address is not None:
            parsed_address(self.address)
        if self.token is not None and (len(self.token) < 16 or not self.token.isprintable()):
            raise ConfigError("a token has at least 16 characters that can be printed")


@dataclass(frozen=True)
class CameraConfig:
    """One camera, stream or file."""

    source: Annotated[str, "as --source takes it"]
    name: Annotated[str, "in outputs, on the page"] = "camera"
    init: Annotated[tuple[str, ...], "x,y,w,h, NAME=x,y,w,h, motion[:N], detector:PROGRAM, detector:mqtt://..."] = ()
    output: Annotated[tuple[str, ...], "as --output takes them"] = ()
    fps: Annotated[float, Between(0, 1000, above=True), "of a source without a clock"] | None = None
    decoder_threads: Annotated[int, Between(1, 64), "of the video decoder"] = 1
    targets: TargetSettings = field(default_factory=TargetSettings)
    live: LiveSettings = field(default_factory=LiveSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    motion: MotionSettings = field(default_factory=MotionSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "name", checked_name(self.name))
        boxes = [wish for wish in self.wishes if wish.kind == "box"]
        if len(boxes) > self.targets.most:
            raise ConfigError(f"{len(boxes)} targets are given, and targets.most is {self.targets.most}")
        if twice := named_twice([wish.name for wish in boxes if wish.name]):
            raise ConfigError(f"two targets are called {twice!r}")

    @property
    def wishes(self) -> list[Wish]:
        """What `init` asks for. Raises ConfigError."""
        return [parsed_wish(text) for text in self.init]

    def outputs(self, common: tuple[str, ...]) -> list[str]:
        """All outputs of this camera."""
        names = {True: quote(self.name, safe=""), False: self.name}
        return [spec.replace("{camera}", names["://" in spec]) for spec in (*common, *self.output)]


@dataclass(frozen=True)
class ServiceConfig:
    """All of it."""

    camera: Annotated[tuple[CameraConfig, ...], "one or more"]
    output: Annotated[tuple[str, ...], "outputs of every camera; {camera} is its name"] = ()
    state: Annotated[str | None, "file that keeps targets of cameras and streams across restarts"] = None
    hang_s: Annotated[float, Above(0), "seconds of one computing step after which the process ends"] = 10.0
    page: PageConfig = field(default_factory=PageConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)

    def __post_init__(self) -> None:
        check(self)
        names = [camera.name for camera in self.camera]
        if not names:
            raise ConfigError("there is no camera: [[camera]] with a source is needed")
        if twice := named_twice(names):
            raise ConfigError(f"two cameras are called {twice}: each needs a name of its own")
        alike: dict[str, str] = {}
        for name in names:
            if (other := alike.setdefault(file_name(name), name)) != name:
                raise ConfigError(
                    f"the cameras {other} and {name} would write files of the same names: call one otherwise"
                )
        if self.state is not None and not any(is_live(camera.source) for camera in self.camera):
            raise ConfigError("state (--state) keeps the targets of cameras and streams, and every source is a file")


def named_twice(names: Sequence[str]) -> str | None:
    """The first name in alphabetical order that is there more than once."""
    return min((name for name in names if names.count(name) > 1), default=None)


def load_config(path: Path, assignments: tuple[str, ...] = ()) -> ServiceConfig:
    """Read and check a TOML file; `${NAME}` in its texts is the environment's. Raises UsageError."""
    try:
        raw = tomllib.loads(read_text(path, LARGEST))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError too
        raise ConfigError(f"{path} is no TOML: {first_line(error)}") from error
    config = assign(from_mapping(ServiceConfig, _expanded(raw, str(path)), str(path)), assignments)
    for camera in config.camera:
        check_source(camera.source)
    specs = [spec for camera in config.camera for spec in camera.outputs(config.output)]
    named = [spec for spec in specs if re.match("mqtts?://.*[?&]client=", spec)]
    if len(set(named)) < len(named):
        raise ConfigError(f"{path}: a broker lets in one of a name at a time: write client=NAME-{{camera}}")
    files = [spec for spec in specs if "://" not in spec] + (
        [f"jsonl:{config.state}"] if config.state is not None else []
    )
    refuse_overwriting(files, [path])
    return config


def _expanded(value: Any, where: str) -> Any:
    """`value` with the environment's variables in its texts: after parsing, as a password may hold anything."""
    if isinstance(value, str):
        try:
            return _expanded_text(value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    if isinstance(value, Mapping):
        return {key: _expanded(each, where) for key, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each, where) for each in value]
    return value


def _expanded_text(text: str) -> str:
    """A password that is put into an address is escaped, but for what is escaped already."""
    match = _CREDENTIALS.search(text)
    if match is None:
        return expand_environment(text)
    given = {name: _escaped(value) for name, value in os.environ.items()}
    before, after = text[: match.start()], text[match.end() :]
    return expand_environment(before) + expand_environment(match[0], given) + expand_environment(after)


def _escaped(value: str) -> str:
    return re.sub(r"%(?![0-9A-Fa-f]{2})|[^%]+", lambda part: quote(part[0], safe=""), value)


def shown_config(config: ServiceConfig) -> str:
    """The whole configuration as TOML, defaults too, without passwords and tokens."""
    lines = list(_lines(config, "", skip="camera"))
    for camera in config.camera:
        lines += ["", "[[camera]]", *_lines(camera, "")]
    return "\n".join(lines) + "\n"


def _lines(settings: Any, prefix: str, skip: str = "") -> Iterator[str]:
    for name, hint in hints(type(settings)).items():
        value = getattr(settings, name)
        if name == skip:
            continue
        if dataclasses.is_dataclass(value):
            yield from _lines(value, f"{prefix}{name}.")
        elif value is None:
            yield f"# {prefix}{name} is not set  # {meaning(hint)}"
        else:
            yield f"{prefix}{name} = {_toml(HIDDEN if name in SECRET_FIELDS else value)}  # {meaning(hint)}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, str):
        return json.dumps(without_secrets(value), ensure_ascii=False)
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)


def without_secrets(text: str) -> str:
    """A setting's text with the URL in it masked, whatever stands before it."""
    match = re.search(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text)
    return text[: match.start()] + masked(text[match.start() :]) if match else text
