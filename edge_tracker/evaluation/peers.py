"""Other trackers to compare with, adapted to the interface that the evaluation needs. They need their model files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_tracker.evaluation.nanotrack import NanoTrack
from edge_tracker.evaluation.ope import MakeTracker
from edge_tracker.track import Track, TrackState

PEERS = ("NanoTrack v1", "NanoTrack v2", "NanoTrack v3", "ViT", "CSRT", "KCF")
SCORED = frozenset(PEERS[:4])  # those that give a score for every frame


class Cv2Peer:
    """One of OpenCV's trackers. `build` makes a fresh one. "Not found" and errors count as LOST."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._tracker: Any = None
        self._track = Track((0, 0, 1, 1), 0.0, TrackState.LOST)

    def init(self, image: NDArray[np.uint8], box: ArrayLike) -> None:
        x, y, w, h = (round(float(v)) for v in np.asarray(box, dtype=np.float64))
        self._tracker = self._build()
        self._tracker.init(image, (x, y, max(w, 1), max(h, 1)))
        self._track = Track((x, y, w, h), 1.0, TrackState.TRACKED)

    def update(self, image: NDArray[np.uint8]) -> Track:
        try:
            found, box = self._tracker.update(image)
        except cv2.error:  # some raise when their window has left the frame
            found, box = False, ()
        if not found:  # then it gives no box: the last one counts, as is usual in evaluations
            self._track = Track(self._track.box, 0.0, TrackState.LOST)
            return self._track
        x, y, w, h = (float(v) for v in box)
        score = float(self._tracker.getTrackingScore()) if hasattr(self._tracker, "getTrackingScore") else -1.0
        if score < 0:  # CSRT, KCF and MIL have no score, only "found"
            score = 1.0
        self._track = Track((x, y, w, h), score, TrackState.TRACKED)
        return self._track


def _nano(backbone: str, neckhead: str) -> Any:
    parameters = cv2.TrackerNano.Params()
    parameters.backbone, parameters.neckhead = backbone, neckhead
    return cv2.TrackerNano.create(parameters)


def _vit(net: str) -> Any:
    parameters = cv2.TrackerVit.Params()
    parameters.net = net
    return cv2.TrackerVit.create(parameters)


def _by_name(name: str) -> Any:
    return getattr(cv2, name).create()


def find_peers(folder: Path | None) -> dict[str, MakeTracker]:
    """The trackers that can run here, by name: NanoTrack and ViT if `folder` holds their files, CSRT and KCF if OpenCV
    was built with its contrib modules. NanoTrack v1 and v2 run in OpenCV, v3 in ONNX Runtime."""
    builds: dict[str, Callable[[], Any]] = {}
    if folder is not None:
        for version in ("v1", "v2"):
            files = [folder / f"nanotrack_{version}" / f"nanotrack_{part}_sim.onnx" for part in ("backbone", "head")]
            if all(file.is_file() for file in files):
                builds[f"NanoTrack {version}"] = partial(_nano, *map(str, files))
        vit = folder / "vittrack" / "vitTracker.onnx"
        if vit.is_file():
            builds["ViT"] = partial(_vit, str(vit))
    for name in ("CSRT", "KCF"):
        if hasattr(cv2, f"Tracker{name}"):
            builds[name] = partial(_by_name, f"Tracker{name}")
    peers: dict[str, MakeTracker] = {name: partial(Cv2Peer, build) for name, build in builds.items()}
    if folder is not None:
        files = [folder / "nanotrack_v3" / f"nanotrack_{part}.onnx" for part in ("backbone", "head")]
        if all(file.is_file() for file in files):
            peers["NanoTrack v3"] = partial(NanoTrack, *files)
    return {name: peers[name] for name in PEERS if name in peers}
