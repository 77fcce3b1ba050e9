"""Model cards: what a converter writes beside a model file, `<file>.json`, and the files a model consists of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edge_tracker.backbones.base import Fingerprint, Name, Precision
from edge_tracker.errors import ConfigError, ModelError, first_line
from edge_tracker.files import write_text
from edge_tracker.recognise import mistaken
from edge_tracker.settings import Above, AtLeast, Between, check, from_json

LARGEST_CARD = 1 << 20  # bytes

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, AtLeast(0)]
Milliseconds = Annotated[float, Above(0)]
Percent = Annotated[float, Between(0, 100)]


@dataclass(frozen=True)
class Measured:
    """How fast a model file was where it was converted. Times are medians of one run, one thread."""

    engine: str
    cpu: str
    p50_ms: Milliseconds
    fp32_p50_ms: Milliseconds  # the same model in full precision, in the same engine
    packaged_p50_ms: Milliseconds  # the packaged model in ONNX Runtime: what makes engines comparable

    def __post_init__(self) -> None:
        check(self)

    @property
    def pays(self) -> bool:
        """Whether this file is faster than full precision, by more than the measurement's noise."""
        return self.p50_ms < 0.95 * self.fp32_p50_ms


@dataclass(frozen=True)
class Training:
    """How a model was trained to see as a teacher does: what scripts/train_backbone.py writes beside the weights. What
    came later is added to the command alone."""

    teacher: str  # name, file and SHA-256 of its weights
    data: str
    command: str
    crops: Count
    hours: Annotated[float, AtLeast(0)]
    # With the teacher on unseen pictures, by tapped block: median over channels.
    correlation: Mapping[str, Annotated[float, Between(-1, 1)]]

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Accuracy:
    """How well a tracker tracks with a model: OPE, %, mean and deviation over seeds; scripts/model_card.py."""

    tracker: str
    data: str
    seeds: Annotated[int, AtLeast(1)]
    precision: Percent
    precision_deviation: Percent
    success: Percent
    success_deviation: Percent

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ModelCard:
    """What a converter says of a model file: enough to tell whether it is the file it was.

    `training` and `accuracy` are put there by scripts/model_card.py.
    """

    model: Name
    bytes: Count
    sha256: Digest  # of the file; of `.xml` and `.bin` as if they were one
    fingerprint: Fingerprint  # of the trunk
    licence: str
    source: str
    weights: str  # what it was converted from: file name and SHA-256
    precision: Precision = "fp32"
    failed_gates: tuple[str, ...] = ()  # the gates that the file failed when --force wrote it
    measured: Measured | None = None
    training: Training | None = None
    accuracy: tuple[Accuracy, ...] = field(default=())

    def __post_init__(self) -> None:
        check(self)

    def describes(self, path: Path) -> bool:
        """True if the file at `path` is the one this card was written for: by its bytes and whole SHA-256."""
        return (size_of_model(path), sha256_of(*files_of(path))) == (self.bytes, self.sha256)

    def difference(self, path: Path) -> str | None:
        """Why the file at `path` is not the one this card was written for; None where it is. Raises ModelError."""
        if self.describes(path):
            return None
        known = None if path.suffix == ".xml" else mistaken(path)  # of each .xml, that it is an XML text
        return known or f"it DIFFERS from its card {path.name}.json: convert it again"

    @classmethod
    def of(cls, path: Path, **fields: Any) -> ModelCard:
        """The card of the file at `path`: `fields`, with its bytes and SHA-256."""
        return cls(bytes=size_of_model(path), sha256=sha256_of(*files_of(path)), **fields)

    @classmethod
    def read(cls, model_path: Path) -> ModelCard | None:
        """The card of a model file, None where there is none. Raises ModelError for one that cannot be read."""
        path = card_path(model_path)
        try:
            if not path.is_file():
                return None
            if path.stat().st_size > LARGEST_CARD:
                raise ModelError(f"the model card {path} has {path.stat().st_size} bytes, more than any card")
            return from_json(cls, path.read_bytes(), f"the model card {path}")
        except OSError as error:
            raise ModelError(f"the model card {path} cannot be read: {error.strerror or first_line(error)}") from error
        except ConfigError as error:
            raise ModelError(str(error)) from error

    def write(self, model_path: Path) -> None:
        """Write the card of the model file at `model_path`. Raises OutputError."""
        fields = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        write_text(card_path(model_path), json.dumps(fields, indent=2) + "\n")


def card_path(model_path: Path) -> Path:
    return model_path.with_name(model_path.name + ".json")


def files_of(path: Path) -> list[Path]:
    """The files a model consists of: OpenVINO keeps the weights of `NAME.xml` in `NAME.bin`."""
    weights = path.with_suffix(".bin")
    return [path, weights] if path.suffix == ".xml" and weights.is_file() else [path]


def size_of_model(path: Path) -> int:
    """Bytes of all its files. Raises ModelError."""
    try:
        return sum(file.stat().st_size for file in files_of(path))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or first_line(error)}") from error


def sha256_of(*paths: Path) -> str:
    """SHA-256 of a file, or of several as if they were one, in hex digits. Raises ModelError."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or first_line(error)}") from error
    return digest.hexdigest()
