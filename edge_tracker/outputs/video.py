"""The source's pictures with box, state and confidence drawn in, as a video file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import OutputError
from edge_tracker.outputs.base import PartialFile
from edge_tracker.track import Track, TrackState
from edge_tracker.video.sources import Frame

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
COLOURS = {  # BGR
    TrackState.TRACKED: (80, 220, 60),
    TrackState.UNCERTAIN: (0, 190, 255),
    TrackState.LOST: (60, 60, 230),
}


class VideoOutput:
    """Writes .mp4, .avi or .mkv. The first frame sets the size; later ones of another size are scaled to it."""

    def __init__(self, path: str | Path, fps: float) -> None:
        path = Path(path)
        if path.suffix.lower() not in CODECS:
            raise OutputError(f"cannot write {path}: a video ends in {', '.join(CODECS)}")
        self._file = PartialFile(path)
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0
        self._closed = False
        try:  # the writer opens with the first frame, but the user should hear of a bad path now
            self._file.partial.open("wb").close()
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error

    def write(self, frame: Frame, track: Track) -> None:
        if self._writer is None:
            self._size = (frame.image.shape[1], frame.image.shape[0])
            codec = cv2.VideoWriter.fourcc(*CODECS[self._file.path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._file.partial), codec, self._fps, self._size)
            if not self._writer.isOpened():
                self._writer = None
                raise OutputError(f"cannot write {self._file.path}: no encoder for {self._size[0]}x{self._size[1]}")
        picture = annotate(frame.image, track)
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size), dtype=np.uint8)
        self._writer.write(picture)
        self._frames += 1

    def close(self, complete: bool) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writer is None:  # no frame came
            self._file.discard()
            return
        self._writer.release()
        # The encoder reports no error, so a full disk shows only in what can be read back.
        written = count_frames(self._file.partial)
        if written < self._frames:
            raise OutputError(
                f"only {written} of {self._frames} frames reached {self._file.partial}: is the disk full?"
            )
        self._file.finish(complete)


def count_frames(path: Path) -> int:
    """Frames that a video file says it holds, 0 where it cannot be opened."""
    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()


def annotate(image: NDArray[np.uint8], track: Track) -> NDArray[np.uint8]:
    """A copy of `image` with the box and its state drawn in; the colour tells the state."""
    picture = image.copy()
    x, y, w, h = track.box
    colour = COLOURS[track.state]
    thickness = max(1, round(min(picture.shape[:2]) / 240))
    cv2.rectangle(picture, (round(x), round(y)), (round(x + w), round(y + h)), colour, thickness, cv2.LINE_AA)
    label = f"{track.state.value} {track.confidence:.2f}"
    scale = max(0.4, min(picture.shape[:2]) / 900)
    (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    left = min(max(round(x), 0), max(picture.shape[1] - width - 2, 0))
    bottom = max(round(y) - 2, height + 6)
    cv2.rectangle(picture, (left, bottom - height - 6), (left + width + 2, bottom), colour, cv2.FILLED)
    cv2.putText(
        picture, label, (left + 1, bottom - 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thickness, cv2.LINE_AA
    )
    return picture
