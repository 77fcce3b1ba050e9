"""Some of the annotated frames side by side, as one picture: a run at a glance."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import OutputError
from edge_tracker.outputs.base import PartialFile
from edge_tracker.outputs.video import annotate
from edge_tracker.track import Track
from edge_tracker.video.sources import Frame

TILE_WIDTH = 240  # px


class ContactSheetOutput:
    """Writes a .png or .jpg with every `every`-th frame, `columns` in a row, when it is closed."""

    def __init__(self, path: str | Path, every: int, columns: int = 6) -> None:
        path = Path(path)
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise OutputError(f"cannot write {path}: a contact sheet ends in .png, .jpg or .jpeg")
        self._file = PartialFile(path)
        self._every, self._columns = every, columns
        self._tiles: list[NDArray[np.uint8]] = []
        self._size = (TILE_WIDTH, TILE_WIDTH)
        self._closed = False

    def write(self, frame: Frame, track: Track) -> None:
        if frame.index % self._every:
            return
        picture = annotate(frame.image, track)
        if not self._tiles:  # the first frame sets the shape of all tiles
            self._size = (TILE_WIDTH, max(1, round(TILE_WIDTH * picture.shape[0] / picture.shape[1])))
        tile = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        cv2.putText(
            tile,
            str(frame.index),
            (4, self._size[1] - 6),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45,
            (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
        self._tiles.append(tile)

    def close(self, complete: bool) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._tiles:
            return
        missing = -len(self._tiles) % self._columns
        tiles = self._tiles + [np.zeros_like(self._tiles[0])] * missing
        rows = [np.hstack(tiles[k : k + self._columns]) for k in range(0, len(tiles), self._columns)]
        if not cv2.imwrite(str(self._file.partial), np.vstack(rows)):
            raise OutputError(f"cannot write {self._file.path}")
        self._file.finish(complete)
