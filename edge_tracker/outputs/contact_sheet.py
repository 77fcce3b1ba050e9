"""Some of the annotated frames side by side, as one picture: a run at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import OutputError
from edge_tracker.outputs.annotate import annotate
from edge_tracker.outputs.base import ResultFile, cannot_write, shown
from edge_tracker.track import Track
from edge_tracker.video.source import Frame

TILE_WIDTH, TILE_HEIGHT = 240, 480  # px, at most
TILES = 30  # kept; where more would come, every second one goes and only every second one follows
SUFFIXES = (".png", ".jpg", ".jpeg")


class ContactSheetOutput:
    """Writes a .png or .jpg with up to TILES frames, evenly spread over the run, `columns` in a row, when it is closed.

    every: take every so many frames from the start; by default all, until they are too many.
    """

    def __init__(self, path: str | Path, every: int = 1, columns: int = 6) -> None:
        path = Path(path)
        if path.suffix.lower() not in SUFFIXES:
            raise OutputError(f"cannot write {shown(path)}: a contact sheet ends in {', '.join(SUFFIXES)}")
        self._file = ResultFile(path)
        self._every, self._columns = every, columns
        self._tiles: list[NDArray[np.uint8]] = []
        self._size = (TILE_WIDTH, TILE_WIDTH)
        self._closed = False
        try:  # it is written at the end, but the user should hear of a bad path now
            self._file.partial.open("wb").close()
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, frame: Frame, tracks: Sequence[Track]) -> None:
        if frame.index % self._every:
            return
        if len(self._tiles) == TILES:
            self._tiles = self._tiles[::2]
            self._every *= 2
            if frame.index % self._every:
                return
        picture = annotate(frame.image, tracks)
        if not self._tiles:  # the first frame sets the shape of all tiles
            height, width = picture.shape[:2]
            scale = min(TILE_WIDTH / width, TILE_HEIGHT / height)
            self._size = (max(1, round(scale * width)), max(1, round(scale * height)))
        tile = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        place = (4, self._size[1] - 6)
        cv2.putText(tile, str(frame.index), place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        self._tiles.append(tile)

    def close(self, complete: bool) -> None:
        if self._closed:
            return
        self._closed = True
        if self._tiles:
            missing = -len(self._tiles) % self._columns
            tiles = self._tiles + [np.zeros_like(self._tiles[0])] * missing
            rows = [np.hstack(tiles[k : k + self._columns]) for k in range(0, len(tiles), self._columns)]
            _, data = cv2.imencode(self._file.path.suffix.lower(), np.vstack(rows))
            try:
                self._file.partial.write_bytes(data.tobytes())
            except OSError as error:
                raise cannot_write(self._file.path, error) from error
        self._file.finish(complete, empty=not self._tiles)
