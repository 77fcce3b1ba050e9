"""How a camera is doing, for outputs that tell it: the page, MQTT, Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from edge_tracker.track import Track

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")  # thousandths of a degree
THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")  # a Raspberry Pi's bit field, hexadecimal


@dataclass(frozen=True)
class Status:
    """One camera at one moment. Counters never fall while the process runs."""

    camera: str
    source: str  # its name, without passwords
    source_state: str  # "connecting", "live", "away", "ended" or "waiting": for a target to be chosen
    source_reason: str = ""  # why it is away
    frames: int = 0  # that arrived
    dropped: int = 0  # of these, that came faster than they could be taken
    reconnects: int = 0
    updates: int = 0  # frames in which targets were looked for
    updates_per_s: float = 0.0
    latency_s: float | None = None  # median of the last frames, from capture to the outputs
    turns: float = 1.0  # frames between two updates of one target
    output_errors: Mapping[str, int] = field(default_factory=dict)  # frames that an output could not take
    temperature_c: float | None = None
    throttled: int | None = None  # a Raspberry Pi's: 0 is well


@runtime_checkable
class Reporting(Protocol):
    """An output that is also told, about once a second, how the camera is doing: with frames or without."""

    def report(self, status: Status, tracks: Sequence[Track]) -> None: ...


def temperature_c() -> float | None:
    """Of the processor, where the machine tells."""
    text = _read(THERMAL)
    return float(text) / 1000 if text is not None and text.lstrip("-").isdecimal() else None


def throttled() -> int | None:
    """What a Raspberry Pi says of its supply and clock, None on other machines."""
    text = _read(THROTTLED)
    try:
        return None if text is None else int(text, 16)
    except ValueError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
