"""A task: one target of one sequence, with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box
from edge_tracker.video.images import read_image


@dataclass(frozen=True, eq=False)
class Task:
    """One target of one sequence. `boxes` (n, 4) are 0-based pixels; a NaN row marks an absent or hidden target.

    given: the box that a tracker is given in the first frame instead of the true one.
    """

    name: str
    frames: tuple[Path, ...]
    boxes: NDArray[np.float64]
    given: Box | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def init_box(self) -> NDArray[np.float64]:
        """What a tracker is given in the first frame, (4,)."""
        return self.boxes[0] if self.given is None else np.array(self.given)

    @property
    def visible(self) -> NDArray[np.float64]:
        """Share of the target that can be seen, (n,): 1, or 0 where it is marked as hidden."""
        return np.where(np.isfinite(self.boxes).all(axis=1), 1.0, 0.0)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Frame `index`, uint8 (H, W, 3) BGR. Raises SourceError."""
        return read_image(self.frames[index])
