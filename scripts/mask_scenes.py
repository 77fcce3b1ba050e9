"""Scenes of objects whose exact silhouettes are known, from which the refinement network learns.

Photographs and videos with masks (`<name>.jpg` beside `<name>.png`, 0 background, 1..n objects) give three kinds:
    pasted    an object on another photograph, turning, tilting, bending, beside or behind others of its kind
    in place  the same object where it was photographed, the whole picture warped, others of its kind pasted beside
    videos    the object of a video in its own frames, with occluders and look-alikes cut from other frames
The box is always that of the whole silhouette, however much of it is covered; where the frame cuts it, of what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from refinement_scenes import (
    CHANGING,
    SMALLEST_SIDE_PX,
    Camera,
    CutOut,
    Image,
    Light,
    View,
    _degraded,
    _occluded,
    _part,
    _paste,
    _placed,
    _size,
    _warped,
)

from edge_tracker.boxes import Box
from edge_tracker.errors import DatasetError
from edge_tracker.roi import affine
from edge_tracker.video.images import read_image

OBJECT_VIEWS, PLACE_VIEWS, VIDEO_FRAMES = 3, 2, 24  # views of a scene
SMALLEST_OBJECT_PX, LARGEST_SHARE, LONGEST = 18, 0.6, 5.0  # side of a silhouette's box; share of the picture; aspect
PARTS, LOOSE = 0.08, 0.35  # share of targets that are a part of an object; whose boxes are not tight
ALONE = 0.35  # share of the views without a pasted neighbour
NEXT_TO = (0.45, 1.25)  # distance of a neighbour, in the mean of both sides: touching to apart
IN_FRONT, MOST_COVERED = 0.4, 0.6  # share of the neighbours before the target; what they may cover of it
CUT = 0.12  # share of the views that the frame's edge cuts
PLACE_SPREAD = 0.06  # of a target in its crop, of the crop's side


class Object(NamedTuple):
    """One object of a masked photograph."""

    kind: str  # the data set it comes from: objects of one kind resemble one another
    name: str
    photo: Image
    mask: Image  # of the photograph's size, 0 or 255
    inside: bool  # the photograph's edge does not cut it

    def cut(self) -> CutOut:
        x, y, w, h = cv2.boundingRect(self.mask)
        return CutOut(self.photo[y : y + h, x : x + w], self.mask[y : y + h, x : x + w])


def read_objects(folder: Path) -> list[Object]:
    """All usable objects of the masked photographs under `folder`. Raises DatasetError where there is none."""
    found = []
    for path in sorted(folder.glob("*.png")):
        photo, ids = read_image(path.with_suffix(".jpg")), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.shape != photo.shape[:2]:
            raise DatasetError(f"{path} is no mask of {path.with_suffix('.jpg')}")
        for number in range(1, int(ids.max()) + 1):
            mask = np.where(ids == number, 255, 0).astype(np.uint8)
            x, y, w, h = cv2.boundingRect(mask)
            share = np.count_nonzero(mask) / mask.size
            if min(w, h) < SMALLEST_OBJECT_PX or share > LARGEST_SHARE or max(w / h, h / w) > LONGEST:
                continue
            if np.count_nonzero(mask) < 0.25 * w * h:
                continue
            inside = x > 1 and y > 1 and x + w < photo.shape[1] - 1 and y + h < photo.shape[0] - 1
            found.append(Object(path.stem.split("_")[0], f"{path.stem}.{number}", photo, mask, inside))
    if not found:
        raise DatasetError(f"no masked photograph under {folder}")
    return found


def read_video(folder: Path) -> list[tuple[Image, Image]]:
    """Frames (h, w, 3) and masks (h, w) of one masked video, without those where the object is not to be seen."""
    frames = []
    for path in sorted(folder.glob("*.png")):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None:
            raise DatasetError(f"cannot decode {path}")
        mask = np.where(ids > 0, 255, 0).astype(np.uint8)
        if min(cv2.boundingRect(mask)[2:]) >= SMALLEST_OBJECT_PX:
            frames.append((read_image(path.with_suffix(".jpg")), mask))
    return frames


class Pose(NamedTuple):
    """How a picture is turned, stretched, tilted and bent into a crop."""

    turn: float
    stretch: float
    size: float  # square root of the area of the target's box, crop pixels
    at: NDArray[np.float64]  # (2,) where its middle comes to lie
    tilt: NDArray[np.float64]
    bend: NDArray[np.float32]  # (4, 4, 2)


class _Walk:
    """A target's pose from view to view."""

    def __init__(self, random: np.random.Generator, side: int, calm: bool) -> None:
        self.random, self.side = random, side
        self.changing = not calm and random.random() < CHANGING
        self.turn, self.stretch, self.tilt = random.normal(0, 0.12), random.normal(0, 0.08), np.zeros(2)

    def next(self, share: float) -> Pose:
        random, changing = self.random, self.changing
        self.turn += random.normal(0, (0.8 if changing else 0.15) * share)
        self.stretch += random.normal(0, (0.35 if changing else 0.15) * share)
        if changing:
            self.tilt = self.tilt + random.normal(0, 0.2 * share, 2)
        bend = random.normal(0, (0.1 if changing else 0.04) * random.random(), (4, 4, 2)).astype(np.float32)
        at = self.side / 2 + random.normal(0, PLACE_SPREAD * self.side, 2)
        return Pose(self.turn, self.stretch, _size(random, self.side, 0.15), at, self.tilt, bend)


def pasted_scene(
    random: np.random.Generator, item: Object, kin: Sequence[CutOut], photos: Sequence[Image], side: int
) -> list[View]:
    """An object on one photograph, then on that or another."""
    target = item.cut()
    if random.random() < 0.5:
        target = target.mirrored()
    meant = _part(random, target.mask) if random.random() < PARTS else target.mask
    _, _, w, h = cv2.boundingRect(meant)
    enlarged = min(4.0, target.mask.size / max(1, w * h)) ** 0.5
    loosely = random.random() < LOOSE
    off, loose = loosely * random.normal(0, 0.03, 2), loosely * random.normal(0.03, 0.07, 2)
    camera, light = Camera.any(random), Light().drifted(random, 1.0)
    grounds = [photos[int(random.integers(len(photos)))]] * 2
    if random.random() < 0.4:
        grounds[1] = photos[int(random.integers(len(photos)))]
    ground_at, zoom, ground_turn = random.uniform(0.2, 0.8, 2), random.uniform(-0.9, 0.1), random.normal(0, 0.2)
    walk = _Walk(random, side, calm=False)
    about = walk.changing and random.random() < 0.2
    company = _company(random, kin)
    views = []
    for view in range(OBJECT_VIEWS):
        pose = walk.next(1.0 if view <= 1 else 0.5)
        if view == 1 and about:  # shows its other side
            target, meant = target.mirrored(), np.ascontiguousarray(meant[:, ::-1])
        light = light.drifted(random, 0.7)
        ground = grounds[min(view, 1)]
        ground_at = ground_at + random.normal(0, 0.06, 2)
        picture = _warped(
            ground, affine(ground_turn, np.exp(-zoom), 0, side / 2, ground_at * ground.shape[1::-1]), side
        )
        seen, mask, meant_mask = _placed(
            target, meant, pose.turn, pose.stretch, pose.size * enlarged, pose.at, pose.tilt, pose.bend, side
        )
        picture = _paste(picture, lit(light, seen), mask)
        made = _finished(random, picture, mask, meant_mask, company, photos, camera, off, loose, view > 0)
        if made is not None:
            views.append(made)
    return views


def in_place_scene(
    random: np.random.Generator, item: Object, kin: Sequence[CutOut], photos: Sequence[Image], side: int
) -> list[View]:
    """An object in its own photograph, which is warped as a whole."""
    photo, mask = item.photo, item.mask
    if random.random() < 0.5:
        photo, mask = np.ascontiguousarray(photo[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
    camera, light = Camera.any(random), Light().drifted(random, 1.0)
    border = cv2.BORDER_REFLECT_101 if item.inside and random.random() < 0.5 else cv2.BORDER_CONSTANT
    walk = _Walk(random, side, calm=random.random() < 0.6)
    company = _company(random, kin)
    loosely = random.random() < LOOSE
    off, loose = loosely * random.normal(0, 0.03, 2), loosely * random.normal(0.03, 0.07, 2)
    views = []
    for view in range(PLACE_VIEWS):
        pose = walk.next(1.0)
        light = light.drifted(random, 0.7)
        picture, own = warped(photo, mask, pose, border, side)
        picture = lit(light, picture)
        made = _finished(random, picture, own, own, company, photos, camera, off, loose, view > 0)
        if made is not None:
            views.append(made)
    return views


def video_scenes(
    random: np.random.Generator,
    frames: Sequence[tuple[Image, Image]],
    kin: Sequence[CutOut],
    photos: Sequence[Image],
    scenes: int,
    side: int,
) -> Iterator[list[View]]:
    """A masked video's frames in their order, `scenes` times, each time warped, lit and accompanied otherwise."""
    own = [Object("", "", image, mask, True).cut() for image, mask in frames]
    for _ in range(scenes):
        mirrored = random.random() < 0.5
        camera, light = Camera.any(random), Light().drifted(random, 1.0)
        walk = _Walk(random, side, calm=random.random() < 0.7)
        share = 0.3
        views: list[Any] = []
        for number in np.sort(random.permutation(len(frames))[:VIDEO_FRAMES]).tolist():
            image, mask = frames[number]
            if mirrored:
                image, mask = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
            pose = walk.next(share)
            light = light.drifted(random, 0.4)
            picture, seen = warped(image, mask, pose, cv2.BORDER_CONSTANT, side)
            # Its own picture of another time is a look-alike that cannot be told from it but by its place.
            twin = random.random() < 0.3
            company = _Company([own[int(random.integers(len(own)))]], True) if twin else _company(random, kin)
            made = _finished(
                random, lit(light, picture), seen, seen, company, photos, camera, np.zeros(2), np.zeros(2), bool(views)
            )
            if made is not None:
                views.append(made)
        yield views


class _Company(NamedTuple):
    """What stands beside the target in a scene."""

    items: list[CutOut]
    twins: bool  # they show the target itself: that they are not it cannot be seen


def _company(random: np.random.Generator, kin: Sequence[CutOut]) -> _Company:
    return _Company([kin[int(random.integers(len(kin)))] for _ in range(2)], False)


def warped(photo: Image, mask: Image, pose: Pose, border: int, side: int) -> tuple[Image, Image]:
    """A photograph and the mask in it in a crop, the mask's box at the pose's size and place."""
    x, y, w, h = cv2.boundingRect(mask)
    k = pose.size / (w * h) ** 0.5
    c, s = np.cos(pose.turn), np.sin(pose.turn)
    stretched = np.diag([k * np.exp(pose.stretch / 2), k * np.exp(-pose.stretch / 2)])
    back = np.linalg.inv(np.array([[c, -s], [s, c]]) @ stretched).astype(np.float32)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    dx, dy = columns - np.float32(pose.at[0]), rows - np.float32(pose.at[1])
    nearer = (1 + (pose.tilt[0] * dx + pose.tilt[1] * dy) / pose.size).clip(0.4, None).astype(np.float32)
    dx, dy = dx / nearer, dy / nearer
    shifts = cv2.resize(pose.bend, (side, side), interpolation=cv2.INTER_CUBIC) * np.float32(pose.size / k)
    across = back[0, 0] * dx + back[0, 1] * dy + np.float32(x + w / 2) + shifts[..., 0]
    down = back[1, 0] * dx + back[1, 1] * dy + np.float32(y + h / 2) + shifts[..., 1]
    around = photo[max(0, y - h) : y + 2 * h, max(0, x - w) : x + 2 * w]
    picture = cv2.remap(photo, across, down, cv2.INTER_LINEAR, borderMode=border, borderValue=cv2.mean(around))
    own = cv2.remap(mask, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(picture, np.uint8), np.asarray(own, np.uint8)


def _finished(
    random: np.random.Generator,
    picture: Image,
    mask: Image,
    meant: Image,
    company: _Company,
    photos: Sequence[Image],
    camera: Camera,
    off: NDArray[np.float64],
    loose: NDArray[np.float64],
    harder: bool,
) -> View | None:
    """A view with its neighbours, occluders and the frame's edge; None where the target is not in the crop.

    mask: of the whole object; meant: of the part of it that is the target."""
    side = len(picture)
    x, y, w, h = cv2.boundingRect((meant > 127).astype(np.uint8))
    if min(w, h) < SMALLEST_SIDE_PX or min(x, y) < 0.02 * side or max(x + w, y + h) > 0.98 * side:
        return None
    others: list[Box] = []
    if random.random() > ALONE:
        for item in company.items[: 1 + int(random.random() < 0.3)]:
            picture, other = _beside(random, picture, mask, (x, y, w, h), item, harder)
            if other is not None and not company.twins:
                others.append(other)
    if harder and random.random() < 0.15:
        picture = _occluded(random, picture, (x, y, w, h), photos[int(random.integers(len(photos)))])
    box_w, box_h = w * np.exp(loose[0]), h * np.exp(loose[1])
    left, top = x + w * (0.5 + off[0]) - box_w / 2, y + h * (0.5 + off[1]) - box_h / 2
    box = [left, top, left + box_w, top + box_h]
    picture = _degraded(random, camera.takes(random, picture))
    if random.random() < (CUT if harder else CUT / 3):
        picture, box = _cut(random, picture, box)
    return View(picture, (box[0], box[1], box[2] - box[0], box[3] - box[1]), tuple(others))


def _beside(
    random: np.random.Generator, picture: Image, mask: Image, box: tuple[int, int, int, int], item: CutOut, front: bool
) -> tuple[Image, Box | None]:
    """Another object next to the target, behind or before it; and its box, where it is plainly another place."""
    side = len(picture)
    x, y, w, h = box
    if random.random() < 0.5:
        item = item.mirrored()
    tall, wide = item.mask.shape
    size = (w * h) ** 0.5 * np.exp(random.normal(0, 0.2))
    sides = size * np.array([(wide / tall) ** 0.5, (tall / wide) ** 0.5])
    angle = random.choice([0.0, np.pi]) + random.normal(0, 0.5)  # mostly at its side, as people stand
    way = random.uniform(*NEXT_TO) * np.array([np.cos(angle), np.sin(angle)])
    at = np.array([x + w / 2, y + h / 2]) + way * (np.array([w, h]) + sides) / 2
    seen, shape, _ = _placed(item, item.mask, random.normal(0, 0.1), 0.0, size, at, 0.0, None, side)
    other = cv2.boundingRect((shape > 127).astype(np.uint8))
    if min(other[2:]) < 4:
        return picture, None
    covered = float(np.count_nonzero((shape > 127) & (mask > 127))) / max(1, int(np.count_nonzero(mask > 127)))
    if not (front and random.random() < IN_FRONT and covered < MOST_COVERED):
        shape = np.where(mask > 127, 0, shape).astype(np.uint8)
    light = Light().drifted(random, 1.0)
    ox, oy, ow, oh = (float(v) for v in other)
    return _paste(picture, lit(light, seen), shape), (ox, oy, ow, oh)


def _cut(random: np.random.Generator, picture: Image, box: list[float]) -> tuple[Image, list[float]]:
    """The frame ends somewhere in the target, as `roi.crop` shows it: filled with the mean colour of what is inside."""
    axis, low = int(random.integers(2)), bool(random.random() < 0.5)
    share = random.uniform(0.05, 0.5)
    length = box[2 + axis] - box[axis]
    edge = round(box[axis] + share * length) if low else round(box[2 + axis] - share * length)
    turned = picture if axis == 1 else picture.transpose(1, 0, 2)
    outside = slice(0, edge) if low else slice(edge, None)
    kept = slice(edge, None) if low else slice(0, edge)
    if not 8 < edge < len(picture) - 8:
        return picture, box
    turned = turned.copy()
    turned[outside] = turned[kept].mean(axis=(0, 1))
    box = list(box)
    box[axis if low else 2 + axis] = float(edge)
    return np.ascontiguousarray(turned if axis == 1 else turned.transpose(1, 0, 2)), box


def lit(light: Light, image: Image) -> Image:
    """`Light.on` by a table."""
    table = light.on(np.arange(256, dtype=np.uint8))
    return np.asarray(cv2.LUT(image, table), np.uint8)
