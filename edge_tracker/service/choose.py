"""How a target is chosen: `--init` as a user writes it, and what chooses by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.errors import ConfigError
from edge_tracker.service.targets import checked_name
from edge_tracker.track import Track
from edge_tracker.video.source import Frame

Image = NDArray[np.uint8]

MOST_MOVING = 64  # targets that are chosen by their motion, at a time
FORMS = "x,y,w,h, NAME=x,y,w,h, motion[:N], detector:PROGRAM or detector:mqtt://..."


@dataclass(frozen=True)
class Wish:
    """kind: "box" (name, box), "motion" (most: its N), "program" or "mqtt" (place: the command, the address)."""

    kind: str
    text: str  # as it was written
    name: str | None = None
    box: Box | None = None
    most: int | None = None
    place: str = ""


class Chooser(Protocol):
    """Finds targets by itself: motion, a detector."""

    def propose(self, frame: Frame, tracks: Sequence[Track]) -> list[tuple[Image, Box]]:
        """New targets that are not among `tracks`: each with the picture it was seen in, and its box in that."""

    def close(self) -> None: ...


def parsed_wish(text: str) -> Wish:
    """Raises ConfigError."""
    if match := re.fullmatch(r"motion(?::([0-9]{1,3}))?", text):
        most = int(match[1]) if match[1] else None
        if most is not None and not 1 <= most <= MOST_MOVING:
            raise ConfigError(f"motion:N follows 1 to {MOST_MOVING} targets at a time, not {most}")
        return Wish("motion", text, most=most)
    if text.startswith("detector:"):
        place = text.removeprefix("detector:").strip()
        if not place:
            raise ConfigError("detector: is followed by a program, or by mqtt://...")
        return Wish("mqtt" if re.match("mqtts?://", place) else "program", text, place=place)
    name, equals, numbers = text.rpartition("=")
    try:
        x, y, w, h = (float(part) for part in numbers.split(","))
    except ValueError:
        raise ConfigError(f"a target is chosen as {FORMS}, not {text!r}") from None
    if not np.isfinite((x, y, w, h)).all():
        raise ConfigError(f"the numbers of a box are finite, not {text!r}")
    return Wish("box", text, checked_name(name) if equals else None, (x, y, w, h))
