"""How well `--init motion` starts: share of targets found, and false starts.

    python scripts/motion_start.py --data ../shared/data/train

Found: on the sequences of static cameras, a box that overlaps the annotated target (IoU of at least 0.3) within
--frames frames from its first appearance. The cold row starts with an empty background; the warm row shows the other
sequences of the same camera first, as with a camera that hangs there. Whether other boxes are wrong cannot be told
there: other cars and walkers are not annotated. False starts are therefore counted on still scenes: the median picture
of each sequence with a camera's noise, light that drifts, and shaking of up to --shake pixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import iou
from edge_tracker.service.motion import MotionChooser, MotionSettings
from edge_tracker.settings import assign
from edge_tracker.track import Track, TrackState
from edge_tracker.video.source import Frame

CAMERAS = ("CDnet_highway", "TUD_Campus", "CAVIAR")
FOUND_IOU = 0.3
STILL_FRAMES = 500
Image = NDArray[np.uint8]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences in OTB's layout")
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--shake", type=float, default=3.0, help="pixels")
    parser.add_argument("--half", choices=("first", "second"), help="of the sequences: choose on one, report the other")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of motion")
    args = parser.parse_args()
    settings = assign(MotionSettings(most=64), args.set)
    for warm in (False, True):
        found = 0
        names = [path for camera in CAMERAS for path in sorted(args.data.glob(f"{camera}*"))]
        asked = 0
        for path in {"first": names[::2], "second": names[1::2]}.get(args.half, names):
            others = [other for other in names if other != path and other.name[:8] == path.name[:8]] if warm else []
            if warm and not others:
                continue
            asked += 1
            late = frames_until_found(path, others, settings, args.frames)
            found += late is not None
            print(f"  {path.name:22} {'warm' if warm else 'cold'}  {'missed' if late is None else f'frame {late}'}")
        print(f"{'warm' if warm else 'cold'}: {found} of {asked} found within {args.frames} frames")
    for shake in (0.0, args.shake):
        starts, frames = 0, 0
        for camera in CAMERAS:
            path = sorted(args.data.glob(f"{camera}*"))[0]
            starts += false_starts(still(path, shake), settings)
            frames += STILL_FRAMES
        print(f"still scenes, shaken by {shake:g} px: {1000 * starts / frames:.1f} false starts per 1,000 frames")
    return 0


def frames_until_found(path: Path, others: Sequence[Path], settings: MotionSettings, limit: int) -> int | None:
    """Frames from the target's first appearance to a box on it, None where none comes in time."""
    chooser = MotionChooser(settings)
    for other in others:
        for image in images_of(other):
            chooser.propose(Frame(0, 0.0, image), [])
    truth = truth_of(path)
    first = next(k for k, box in enumerate(truth) if np.isfinite(box).all())
    for k, image in enumerate(images_of(path)):
        if k > first + limit:
            return None
        for _, box in chooser.propose(Frame(k, k / 25, image), []):
            if k >= first and float(iou(np.array(box), truth[k])) >= FOUND_IOU:
                return k - first
    return None


def false_starts(images: Iterator[Image], settings: MotionSettings) -> int:
    """Boxes on a scene in which nothing moves; what was started stays, as a target does."""
    chooser = MotionChooser(replace(settings, most=64))
    tracks: list[Track] = []
    for k, image in enumerate(images):
        for _, box in chooser.propose(Frame(k, k / 25, image), tracks):
            tracks.append(Track(box, 1.0, TrackState.TRACKED))
    return len(tracks)


def still(path: Path, shake: float) -> Iterator[Image]:
    """The scene of a sequence without what moves in it, as a real camera would see it."""
    random = np.random.default_rng(0)
    background = np.median(np.stack(list(images_of(path))), axis=0).astype(np.float32)
    height, width = background.shape[:2]
    for k in range(STILL_FRAMES):
        light = 1 + 0.15 * np.sin(2 * np.pi * k / 400)
        dx, dy = random.uniform(-shake, shake, 2)
        move = np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])
        image = cv2.warpAffine(background, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        yield np.clip(image * light + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def images_of(path: Path) -> Iterator[Image]:
    for file in sorted((path / "img").iterdir()):
        yield np.asarray(cv2.imread(str(file)), dtype=np.uint8)


def truth_of(path: Path) -> NDArray[np.float64]:
    """Boxes (n, 4), 0-based; NaN where the target is hidden."""
    lines = (path / "groundtruth_rect.txt").read_text().splitlines()
    boxes = [[float(part) for part in line.replace("\t", ",").split(",")] for line in lines]
    return np.array(boxes) - np.array([1, 1, 0, 0])


if __name__ == "__main__":
    sys.exit(main())
