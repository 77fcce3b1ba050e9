"""Clips in which the target is away for a while, cut from footage whose boxes are known.

Each clip edits the frames of one sequence, so that the visible share of the target's box is known exactly in every
frame. This module knows nothing of trackers. It stores nothing: frames are rendered when asked for, and the same seed
and footage give the same pixels.

Kinds of clips:
    occlusion  a rectangle cut from another sequence slides over the target, hides it and moves on
    exit       the camera pans, so that the target leaves the frame; what comes into view is another sequence's scene
    cut        the picture switches to another sequence and back, while the target moves on
    black      the picture goes black, while the target moves on
    frozen     the picture stands still: no absence, the target stays where it is
    natural    the sequence as it is, with rows whose ground truth is NaN
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import visible_share
from edge_tracker.errors import DatasetError
from edge_tracker.evaluation.task import Task
from edge_tracker.images import size_of

RENDERED = ("occlusion", "exit", "cut", "black", "frozen")
KINDS = (*RENDERED, "natural")

# Pairs are ranges from which a number is drawn evenly.
BEFORE = (20, 30)  # frames before the target begins to disappear: enough for a tracker to settle
AWAY = (15, 30)  # frames in which nothing of the target is visible: half a second to a second of usual footage
AFTER = 30  # frames after the target has come back: twice what the protocol allows for finding it
OCCLUDER = 1.6  # occluder's sides / target's sides: it hides the target though it drifts and the box is not exact
DRIFT = 0.25  # how far the occluder drifts to either side of the target's centre while it hides it; target's sides
SLIDE = (4, 8)  # frames in which the occluder slides over the target
PAN_SPEED = 0.2  # speed of the camera; target's longer sides per frame
PAN = (6, 20)  # least and most frames in which a pan moves the target out of view
BEYOND = 0.25  # distance beyond the frame's edge at which a pan leaves the target; target's longer sides
SHORTEST_STRETCH = 10  # visible frames in a row that a sequence must have; shorter ones show hardly any motion
SMALLEST_SIDE_PX = 8.0  # square root of the target's area; the IoU of smaller boxes depends on rounding


class Edit(Protocol):
    """Changes frame `index` of a clip."""

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Clip:
    """A sequence played in another order, with edited frames. Has the shape of `ope.Footage`.

    order: the source's frame behind each frame of the clip, (n,).
    boxes: the target's whole box in the clip's pixels, (n, 4), NaN where nothing of it is visible.
    visible: visible share of that box, (n,).
    """

    name: str
    kind: str  # one of KINDS
    source: Task
    order: NDArray[np.intp]
    boxes: NDArray[np.float64]
    visible: NDArray[np.float64]
    edit: Edit | None = None

    def __len__(self) -> int:
        return len(self.order)

    @property
    def init_box(self) -> NDArray[np.float64]:
        """What a tracker is given in the first frame, (4,)."""
        return self.boxes[0]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Frame `index`, uint8 (H, W, 3) BGR."""
        image = self.source.image(int(self.order[index]))
        return image if self.edit is None else self.edit(index, image)


@dataclass(frozen=True)
class Occluder:
    """Pastes a piece of a frame of `texture`, at another place in each frame."""

    texture: Task
    frame: int
    corner: tuple[float, float]  # top left corner of the piece in the texture's frame, 0 to 1 of the free room
    places: NDArray[np.intp]  # (n, 4): left, top, right, bottom; whole pixels; all of the same size

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        left, top, right, bottom = (int(v) for v in self.places[index])
        width, height = size_of(image)
        inside = slice(max(top, 0), max(min(bottom, height), 0)), slice(max(left, 0), max(min(right, width), 0))
        edited = image.copy()
        if edited[inside].size:
            piece = self._piece(right - left, bottom - top)
            edited[inside] = piece[
                inside[0].start - top : inside[0].stop - top, inside[1].start - left : inside[1].stop - left
            ]
        return edited

    def _piece(self, width: int, height: int) -> NDArray[np.uint8]:
        frame = self.texture.image(self.frame)
        grow = max(1.0, width / frame.shape[1], height / frame.shape[0])
        if grow > 1:
            size = (math.ceil(frame.shape[1] * grow), math.ceil(frame.shape[0] * grow))
            frame = np.asarray(cv2.resize(frame, size), dtype=np.uint8)
        x = int(self.corner[0] * (frame.shape[1] - width))
        y = int(self.corner[1] * (frame.shape[0] - height))
        return frame[y : y + height, x : x + width]


@dataclass(frozen=True)
class Pan:
    """Moves the view sideways over the frame and a neighbouring scene, a frame of another sequence."""

    scene: Task
    frame: int
    shifts: NDArray[np.intp]  # (n,) shift of the view, pixels; positive: to the right, and the scene lies right

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        shift = int(self.shifts[index])
        if shift == 0:
            return image
        scene = _resized(self.scene.image(self.frame), image)
        width = image.shape[1]
        if shift > 0:
            return np.hstack([image, scene])[:, shift : shift + width]
        return np.hstack([scene, image])[:, width + shift : 2 * width + shift]


@dataclass(frozen=True)
class Cut:
    """Shows another sequence from frame `first` up to the frame before `last`; black without a `scene`."""

    first: int
    last: int
    scene: Task | None = None
    order: NDArray[np.intp] | None = None  # frames of the scene, (last - first,)

    def __call__(self, index: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self.first <= index < self.last:
            return image
        if self.scene is None or self.order is None:
            return np.zeros_like(image)
        return _resized(self.scene.image(int(self.order[index - self.first])), image)


def absence_clips(tasks: Sequence[Task], pool: Sequence[Task], seed: int = 0) -> list[Clip]:
    """One clip of each rendered kind from every task, and a natural clip of each task with hidden rows.

    Occluders, neighbouring scenes and cuts come from other sequences of `pool`. A task gives no rendered clip if its
    target is smaller than SMALLEST_SIDE_PX, or is never visible for SHORTEST_STRETCH frames in a row. A clip depends on
    the seed, its task and the pool alone. Raises DatasetError if there is no clip at all.
    """
    clips = []
    for task in tasks:
        others = [other for other in pool if other.frames[0].parent != task.frames[0].parent]
        if not others:
            raise DatasetError("the loss protocol needs two sequences or more: what hides a target is cut from another")
        stretch = _longest_visible(task)
        if len(stretch) >= SHORTEST_STRETCH and _smallest_side(task.boxes[stretch]) >= SMALLEST_SIDE_PX:
            clips += [_render(kind, task, stretch, others, seed) for kind in RENDERED]
        if not task.visible.all():
            clips.append(Clip(f"{task.name}-natural", "natural", task, np.arange(len(task)), task.boxes, task.visible))
    if not clips:
        raise DatasetError(
            f"no clip can be made: every target is under {SMALLEST_SIDE_PX:g} px or visible for fewer than "
            f"{SHORTEST_STRETCH} frames in a row"
        )
    return clips


def _render(kind: str, task: Task, stretch: NDArray[np.intp], others: list[Task], seed: int) -> Clip:
    random = np.random.default_rng([seed, zlib.crc32(f"{task.name}-{kind}".encode())])
    other = others[random.integers(len(others))]
    frame = int(random.integers(len(other)))
    before, away = int(random.integers(BEFORE[0], BEFORE[1] + 1)), int(random.integers(AWAY[0], AWAY[1] + 1))
    size = size_of(task.image(int(stretch[0])))

    def clip(order: NDArray[np.intp], boxes: NDArray[np.float64], seen: NDArray[np.float64], edit: Edit | None) -> Clip:
        truth = np.where(seen[:, None] > 0, boxes, np.nan)
        return Clip(f"{task.name}-{kind}", kind, task, order, truth, seen, edit)

    if kind == "frozen":
        played = to_and_fro(before + AFTER, stretch)
        order = np.insert(played, before, np.full(away, played[before - 1]))
        boxes = task.boxes[order]
        return clip(order, boxes, visible_share(boxes, size), None)

    if kind in ("cut", "black"):
        order = to_and_fro(before + away + AFTER, stretch)
        boxes = task.boxes[order]
        seen = visible_share(boxes, size)
        seen[before : before + away] = 0
        if kind == "black":
            return clip(order, boxes, seen, Cut(before, before + away))
        return clip(order, boxes, seen, Cut(before, before + away, other, to_and_fro(away, np.arange(len(other)))))

    if kind == "occlusion":
        slide = int(random.integers(SLIDE[0], SLIDE[1] + 1))
        order = to_and_fro(before + slide + away + slide + AFTER, stretch)
        boxes = task.boxes[order]
        # Of the four directions, the one that hides least of the target before and after the absence.
        ways = [_crossing(boxes, before, slide, away, along, sign) for along in (0, 1) for sign in (-1, 1)]
        places = max(ways, key=lambda places: visible_share(boxes, size, places).sum())
        corner = (float(random.random()), float(random.random()))
        return clip(order, boxes, visible_share(boxes, size, places), Occluder(other, frame, corner, places))

    order, shifts = _pan(task.boxes, stretch, size[0], before, away)
    boxes = task.boxes[order] - np.stack([shifts, 0 * shifts, 0 * shifts, 0 * shifts], axis=1)
    return clip(order, boxes, visible_share(boxes, size, shifts=shifts), Pan(other, frame, shifts))


def _crossing(
    boxes: NDArray[np.float64], before: int, slide: int, away: int, along: int, sign: int
) -> NDArray[np.intp]:
    """Places (n, 4) of an occluder that crosses the target's path along x (0) or y (1).

    It touches the target after `before` frames, hides it `slide` frames later, for `away` frames, and moves on.
    """
    n = len(boxes)
    largest = boxes[before : n - AFTER, 2:].max(axis=0)
    size = np.ceil(OCCLUDER * largest)
    touching = (OCCLUDER + 1) / 2  # distance of the centres, in sides of the target
    speed = (touching - DRIFT) / slide
    first, last = before + slide, before + slide + away - 1  # the first and last frame with nothing visible
    frame = np.arange(n)
    offset = np.interp(frame, [first, last], [-DRIFT, DRIFT])
    offset -= speed * np.maximum(first - frame, 0)
    offset += speed * np.maximum(frame - last, 0)
    # It moves with the target while the two touch; before and after that, in a straight line.
    centres = (boxes[:, :2] + boxes[:, 2:] / 2)[np.clip(frame, first - slide, last + slide)]
    centres[:, along] += sign * offset * largest[along]
    corners = np.floor(centres - size / 2).astype(np.intp)
    return np.concatenate([corners, corners + size.astype(np.intp) + 1], axis=1)


def _pan(
    boxes: NDArray[np.float64], stretch: NDArray[np.intp], width: int, before: int, away: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Order of frames, and shift of the view in each: to the nearer side until the target is out of view, and back."""
    longest = before + PAN[1] + away + PAN[1]
    during = boxes[to_and_fro(longest, stretch)[before:]]
    side = np.median(during[:, 2:].max(axis=1))
    to_right = math.ceil((during[:, 0] + during[:, 2]).max() + BEYOND * side)  # pixels until the target is out of view
    to_left = math.ceil(width - during[:, 0].min() + BEYOND * side)
    distance = min(to_right, to_left, width)
    ramp = int(np.clip(round(distance / (PAN_SPEED * side)), *PAN))
    out = np.linspace(0, 1, ramp + 1)
    shares = np.concatenate([np.zeros(before), out[1:-1], np.ones(away), out[::-1][1:], np.zeros(AFTER)])
    shifts = np.round(shares * distance * (1 if to_right <= to_left else -1)).astype(np.intp)
    return to_and_fro(len(shifts), stretch), shifts


def to_and_fro(frames: int, stretch: NDArray[np.intp]) -> NDArray[np.intp]:
    """`frames` steps through `stretch`, forwards, then backwards, and so on: the motion lasts as long as needed."""
    if len(stretch) == 1:
        return np.repeat(stretch, frames)
    steps = np.arange(frames) % (2 * len(stretch) - 2)
    return stretch[np.minimum(steps, 2 * len(stretch) - 2 - steps)]


def _longest_visible(task: Task) -> NDArray[np.intp]:
    """The longest run of frames with a box."""
    hidden = np.flatnonzero(task.visible == 0)
    ends = np.concatenate([[-1], hidden, [len(task)]])
    gap = int(np.argmax(np.diff(ends)))
    return np.arange(ends[gap] + 1, ends[gap + 1])


def _smallest_side(boxes: NDArray[np.float64]) -> float:
    return float(np.sqrt(boxes[:, 2:].prod(axis=1)).min())


def _resized(scene: NDArray[np.uint8], like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(scene, size_of(like), interpolation=cv2.INTER_AREA), dtype=np.uint8)
