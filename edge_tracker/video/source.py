"""What a source of frames is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

NOMINAL_FPS = 30.0  # frames per second where a source has no clock and nobody says better


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    index: from 0. time_s: seconds from the source's first frame; each frame's is greater than the last one's.
    image: uint8 (H, W, 3) BGR, upright. taken_at: Unix time of capture in seconds, None where nobody knows.
    smaller: the same picture in fewer pixels, where the camera gives one, to be shown; made when it is asked for.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]
    taken_at: float | None = None
    smaller: Callable[[], NDArray[np.uint8]] | None = None


class Source(ABC):
    """Iterates over its frames once.

    Iterating raises SourceMissing for what cannot be read, SourceLost where a live source stops delivering.
    """

    name: str = ""  # for messages, without passwords
    fps: float = NOMINAL_FPS  # nominal; the frames' own time_s is what counts
    length: int | None = None  # frames to be expected, for a progress bar; an estimate, None where nothing is known
    live: bool = False  # has no end of its own
    paths: tuple[Path, ...] = ()  # the local files that are read, which nothing may overwrite

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Release the device or file; may be called more than once."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
