"""Drawing tracks into a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.track import Track, TrackState

COLOURS = {  # BGR
    TrackState.TRACKED: (80, 220, 60),
    TrackState.UNCERTAIN: (0, 190, 255),
    TrackState.LOST: (60, 60, 230),
}
FARTHEST = 1e6  # px; OpenCV draws with 32-bit fixed-point numbers


def annotate(image: NDArray[np.uint8], tracks: Sequence[Track]) -> NDArray[np.uint8]:
    """A copy of `image` (H, W, 3) with boxes and states drawn in; the colour tells the state.

    With several tracks, each is labelled with its target's name.
    """
    picture = image.copy()
    for track in tracks:
        _draw(picture, track, f"{track.target} " if len(tracks) > 1 else "")
    return picture


def _draw(picture: NDArray[np.uint8], track: Track, prefix: str) -> None:
    x, y, w, h = (min(max(v, -FARTHEST), FARTHEST) for v in track.box)
    colour = COLOURS[track.state]
    thickness = max(1, round(min(picture.shape[:2]) / 240))
    cv2.rectangle(picture, (round(x), round(y)), (round(x + w), round(y + h)), colour, thickness, cv2.LINE_AA)
    label = f"{prefix}{track.state.value} {track.confidence:.2f}"
    scale = max(0.4, min(picture.shape[:2]) / 900)
    (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    left = min(max(round(x), 0), max(picture.shape[1] - width - 2, 0))
    bottom = min(max(round(y) - 2, height + 6), picture.shape[0])
    cv2.rectangle(picture, (left, bottom - height - 6), (left + width + 2, bottom), colour, cv2.FILLED)
    cv2.putText(
        picture, label, (left + 1, bottom - 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thickness, cv2.LINE_AA
    )
