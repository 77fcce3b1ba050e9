"""Hard footage made of real sequences, for the folds table: longer, shaken, with a look-alike, behind what is still.

Kinds of clips, all `absence_clips.Clip`s, rendered when asked for and the same for the same seed:
    long    a sequence forwards, backwards, forwards: time enough to drift, to lose and to find
    shake   a shaking camera: frames shifted by an autoregressive path with kicks, borders mirrored
    roll    a camera that rolls about the target, half a turn and back
    poor    a poor camera: grey, a third of the pixels, noise, light that changes, blur while it moves
    twin    an older picture of the target, a little darker, swings past behind it
    stand   a static camera: a piece of another sequence stands in the target's way from the first frame on, and the
            target waits behind it (the picture stands still meanwhile)
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import turned, visible_share
from edge_tracker.evaluation.absence_clips import Clip, Occluder, to_and_fro
from edge_tracker.evaluation.datasets import Task
from edge_tracker.images import size_of
from edge_tracker.roi import affine

STATIC = ("CDnet", "TUD", "CAVIAR")
LONGEST = 240  # frames
KICK, KICKED, STEADY, TREMBLE = 0.9, 0.08, 0.9, 0.06  # of sqrt(w h); share of frames; of the shift kept; of sqrt(w h)
OLDER, EVERY, DIM = 12, 40, 0.9  # frames; between two passings; of the brightness
ROLL, ROLL_TIME = np.pi, 80  # radians; frames there and back
SMALLER, NOISE, LIT, LIT_TIME, MOVED, MOVED_EVERY = (
    0.58,
    4.0,
    0.35,
    37.0,
    7,
    9,
)  # of the sides; grey levels; log gain and
# its frames a swing; px of motion blur, in every so-many-th frame
WAIT = 40  # frames behind what stands still


@dataclass(frozen=True)
class Shake:
    shifts: NDArray[np.intp]  # (n, 2)

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        dx, dy = (int(v) for v in self.shifts[index])
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        moved = cv2.warpAffine(image, matrix, size_of(image), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(moved, np.uint8)


@dataclass(frozen=True)
class Roll:
    """Turns each frame about the middle of the target."""

    angles: NDArray[np.float64]  # (n,) radians
    boxes: NDArray[np.float64]  # (n, 4) before

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        x, y, w, h = self.boxes[index]
        middle = x + w / 2, y + h / 2
        matrix = affine(float(self.angles[index]), 1.0, 0.0, middle, middle)
        turned_image = cv2.warpAffine(image, matrix, size_of(image), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(turned_image, np.uint8)


@dataclass(frozen=True)
class Poor:
    """What a poor camera makes of each frame."""

    seed: int

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        random = np.random.default_rng([self.seed, index])
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        if index % MOVED_EVERY >= MOVED_EVERY - 2:
            grey = np.asarray(cv2.blur(grey, (MOVED, 1) if random.random() < 0.5 else (1, MOVED)), np.float32)
        small = cv2.resize(grey, None, fx=SMALLER, fy=SMALLER, interpolation=cv2.INTER_AREA)
        small = small * np.exp(LIT * np.sin(2 * np.pi * index / LIT_TIME)) + random.normal(0, NOISE, small.shape)
        large = cv2.resize(small.clip(0, 255).astype(np.uint8), size_of(image), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8)


@dataclass(frozen=True)
class Twin:
    """Pastes the target of an older frame `ways` sides beside the target, which stays in front."""

    source: Task
    order: NDArray[np.intp]
    boxes: NDArray[np.float64]
    ways: NDArray[np.float64]  # (n,), NaN where there is none

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not np.isfinite(self.ways[index]):
            return image
        then = max(0, index - OLDER)
        x, y, w, h = self.boxes[index]
        place = (x + self.ways[index] * w, y, w, h)
        old = self.source.image(int(self.order[then]))
        behind = _ellipse_pasted(image, place, old, self.boxes[then], DIM)
        return _ellipse_pasted(behind, (x, y, w, h), image, self.boxes[index], 1.0)


def _ellipse_pasted(
    image: NDArray[np.uint8], place: Sequence[float], source: NDArray[np.uint8], box: NDArray[np.float64], light: float
) -> NDArray[np.uint8]:
    """`image` with the ellipse in `box` of `source` at `place`, its edge soft."""
    x, y, w, h = place
    kx, ky = w / box[2], h / box[3]
    matrix = np.array([[kx, 0, x - kx * box[0]], [0, ky, y - ky * box[1]]], np.float32)
    layer = cv2.warpAffine(source, matrix, size_of(image), borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros(image.shape[:2], np.float32)
    middle = (round(x + w / 2), round(y + h / 2))
    cv2.ellipse(mask, middle, (max(1, round(w * 0.45)), max(1, round(h * 0.5))), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.04 * float(np.sqrt(w * h))))[..., None]
    return np.asarray(image * (1 - soft) + np.minimum(layer * light, 255) * soft, np.uint8)


def hard_clips(tasks: Sequence[Task], seed: int = 0) -> list[Clip]:
    """The clips of all tasks."""
    clips = []
    for task in tasks:
        shown = np.flatnonzero(task.visible > 0)
        ends = np.concatenate([[-1], np.flatnonzero(task.visible == 0), [len(task)]])
        gap = int(np.argmax(np.diff(ends)))
        stretch = np.arange(ends[gap] + 1, ends[gap + 1])
        if len(shown) < 20 or np.sqrt(task.boxes[stretch, 2:].prod(axis=1)).min() < 8:
            continue
        random = np.random.default_rng([seed, zlib.crc32(task.name.encode())])
        clips.append(_long(task, stretch))
        clips.append(_shaken(task, stretch, random))
        clips.append(_rolled(task, stretch))
        poor = Poor(zlib.crc32(task.name.encode()))
        clips.append(_clip(task, "poor", stretch, task.boxes[stretch], poor))
        clips.append(_twinned(task, stretch))
        if task.name.startswith(STATIC):
            others = [t for t in tasks if t.name.split("_")[0] != task.name.split("_")[0]]
            clips += [_standing(task, way, others[random.integers(len(others))]) for way in (stretch, stretch[::-1])]
    return clips


def _clip(task: Task, kind: str, order: NDArray[np.intp], boxes: NDArray[np.float64], edit: object) -> Clip:
    return Clip(f"{task.name}-{kind}", kind, task, order, boxes, np.ones(len(order)), edit)  # type: ignore[arg-type]


def _long(task: Task, stretch: NDArray[np.intp]) -> Clip:
    order = to_and_fro(min(LONGEST, 3 * len(stretch)), stretch)
    return _clip(task, "long", order, task.boxes[order], None)


def _shaken(task: Task, stretch: NDArray[np.intp], random: np.random.Generator) -> Clip:
    boxes = task.boxes[stretch]
    side = float(np.median(np.sqrt(boxes[:, 2:].prod(axis=1))))
    width, height = size_of(task.image(int(stretch[0])))
    shift, shifts = np.zeros(2), [np.zeros(2)]
    for _ in stretch[1:]:
        kick = random.normal(0, KICK * side, 2) if random.random() < KICKED else np.zeros(2)
        shift = STEADY * shift + random.normal(0, TREMBLE * side, 2) + kick
        shift = np.clip(shift, -0.2 * np.array([width, height]), 0.2 * np.array([width, height]))
        shifts.append(shift)
    whole = np.round(shifts).astype(np.intp)
    moved = boxes + np.concatenate([whole, np.zeros_like(whole)], axis=1)
    seen = visible_share(moved, (width, height))
    return Clip(
        f"{task.name}-shake", "shake", task, stretch, np.where(seen[:, None] > 0, moved, np.nan), seen, Shake(whole)
    )


def _rolled(task: Task, stretch: NDArray[np.intp]) -> Clip:
    boxes = task.boxes[stretch]
    angles = ROLL * np.sin(np.arange(len(stretch)) * np.pi / ROLL_TIME) ** 2
    truth = np.array([turned(tuple(b.tolist()), float(a)) for b, a in zip(boxes, angles, strict=True)])
    return _clip(task, "roll", stretch, truth, Roll(angles, boxes))


def _twinned(task: Task, stretch: NDArray[np.intp]) -> Clip:
    frame = np.arange(len(stretch))
    phase = (frame % EVERY - EVERY / 2) / (EVERY / 2)  # -1 to 1
    ways = np.where(frame < OLDER, np.nan, 2.5 * phase * np.where((frame // EVERY) % 2, 1, -1))
    boxes = task.boxes[stretch]
    return _clip(task, "twin", stretch, boxes, Twin(task, stretch, boxes, ways))


def _standing(task: Task, stretch: NDArray[np.intp], texture: Task) -> Clip:
    boxes = task.boxes[stretch]
    middle = len(stretch) // 2
    size = np.ceil(np.array([1.25, 1.15]) * boxes[middle, 2:])
    centre = boxes[middle, :2] + boxes[middle, 2:] / 2
    corner = np.floor(centre - size / 2)
    place = np.concatenate([corner, corner + size]).astype(np.intp)
    order = np.insert(stretch, middle, np.full(WAIT, stretch[middle]))
    boxes = task.boxes[order]
    places = np.repeat(place[None], len(order), axis=0)
    seen = visible_share(boxes, size_of(task.image(int(stretch[0]))), places)
    way = "back" if stretch[0] > stretch[-1] else "forth"
    truth = np.where(seen[:, None] > 0, boxes, np.nan)
    edit = Occluder(texture, len(texture) // 2, (0.5, 0.5), places)
    return Clip(f"{task.name}-stand-{way}", "stand", task, order, truth, seen, edit)
