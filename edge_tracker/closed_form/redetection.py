"""Finding a lost target again: which places of each frame are looked at closely, and what is followed meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_tracker.boxes import Box, centre, scaled
from edge_tracker.closed_form.belief import Belief
from edge_tracker.closed_form.colour import codes, counts, region
from edge_tracker.images import size_of
from edge_tracker.track import TrackState

PITCH = 0.5  # between two looks of the grid, of the ROI: a target on the border of one lies in the middle of the next
TEMPLATE_AREA = 144  # pixels of the target in the frame that is scanned
MOST_SCANNED = 240 * 160  # pixels of that frame
AROUND = 0.5  # weight of the colours in twice the box, which shall differ from those in the box
SCANS = 2  # frames of each SCANS + 1 in which the scan says where to look; in the other it is the grid
REMEMBERED, TIRING = 5, 0.3  # recent places that are penalised; penalty of the newest, falling to 0 for the oldest
SIZES = (1.0, 1.6, 0.62, 1.0, 2.4)  # of the box as last believed, in which the target is looked for in turn
ZOOM = 1.25  # of a box that is looked at in another size
DOUBTED_EVERY = 2  # frames between two looks elsewhere while the target is only in doubt


class Sighting(NamedTuple):
    """What a close look at one place found."""

    box: Box  # image pixels
    probability: float  # that it is the target
    height: float  # of the response peak
    turn: int = 0  # how it is turned, see `refiner.Correction`


# Looks closely around a box, image pixels; True where it is sought, False where it is still followed, in doubt.
Look = Callable[[Box, bool], Sighting]


class Redetection:
    """While a target is LOST, long in doubt or just found: two close looks a frame; in doubt the second in every other
    frame alone.

    One is at what was followed at last, for it may be the target after all, much changed; until something better is
    found the box stays with it. The other is at the scan's or grid's next place, and every other time where the target
    was last believed; once the filter answers no more to what was followed, that place is looked at in every frame.
    What is most like the target is followed, and every other time looked at in another size. Elsewhere, and where it
    was last believed, a target that is LOST or was just found is looked for in several sizes in turn: it may come back
    nearer or farther away.
    """

    def __init__(self, good: Box, trail: Box, search: Search) -> None:
        """good: the last box that was believed; trail: the box at which the target was given up."""
        self._good, self._search = good, search
        self.trail: Box | None = trail  # what was followed at last, as long as the filter answers there
        self._found: Box | None = None  # what looked like the target in the last frame
        self._sizes = cycle(SIZES)

    @property
    def box(self) -> Box:
        """The place being followed."""
        return self._found or self.trail or self._good

    @property
    def elsewhere(self) -> bool:
        """What is followed is not what was followed before the search."""
        return self._found is not None or self.trail is None

    @classmethod
    def begun(
        cls,
        image: NDArray[np.uint8],
        good: Box,
        trail: Box,
        roi_px: float,
        look: tuple[NDArray[np.uint8], Box],
        colours: NDArray[np.float32],
    ) -> Redetection:
        """In `image`: what came last was hardly the target, which is looked for in the size it had at `good`.

        look: a crop, and the target in its pixels when last believed. roi_px, colours: see `Search`.
        """
        return cls(good, trail, Search(good, roi_px, size_of(image), region(*look, 1.0, 1), colours))

    def shift(self, dx: float, dy: float) -> None:
        """The camera jerked by so many pixels: what is followed has moved with all else."""
        self.trail, self._found = (box and (box[0] + dx, box[1] + dy, *box[2:]) for box in (self.trail, self._found))

    def rescaled(self, good: Box, followed: Box, roi_px: float, image_size: tuple[int, int]) -> Redetection:
        """The same in images of another size, its places begun anew. good, followed: the last box that was believed,
        and `box`, in their pixels."""
        other = Redetection(good, followed, self._search.rescaled(good, roi_px, image_size))
        if self.elsewhere:
            other.trail, other._found = None, self._found and followed
        return other

    def step(self, image: NDArray[np.uint8], look: Look, belief: Belief, frame: int) -> Sighting:
        """The more probable of the two places looked at in this image.

        What is followed in doubt is still judged as such: by what speaks for a place elsewhere, which must be plainer,
        a target that is only in doubt would become LOST.
        """
        trailing = self.trail is not None and self._found is None
        sought = not trailing or belief.state is TrackState.LOST
        pressing = belief.state is TrackState.LOST or belief.proving > 0
        size = next(self._sizes) if pressing else 1.0
        best = look((self.trail if trailing else self._found) or scaled(self._good, size), sought)
        if trailing:
            self.trail = best.box if belief.answers(best.height) else None
        every = 1 if pressing else DOUBTED_EVERY
        if frame % every == 0:
            turn = frame // every
            if belief.likely(best.probability) and turn % 2:
                place = scaled(best.box, ZOOM if turn % 4 == 1 else 1 / ZOOM)
            elif trailing and turn % 2:
                place = self._good
            else:
                place = scaled(self._search.next(image), size)
            other = look(place, True)
            if belief.likely(other.probability) and other.probability > best.probability:
                best, trailing = other, False
        self._found = best.box if belief.likely(best.probability) and not trailing else None
        return best


class Search:
    """An endless search, one place per frame."""

    def __init__(
        self,
        home: Box,
        roi_px: float,
        image_size: tuple[int, int],
        view: NDArray[np.uint8],
        colours: NDArray[np.float32],
    ) -> None:
        """home: where the target was last believed, roi_px: side of the window that is looked at with each box.

        view (h, w, 3): the target as last believed. colours: its histogram (see `colour`).
        """
        self._home, self._roi_px = home, roi_px
        self._view, self._colours = view, colours
        self._grid = looks(home, roi_px, image_size)
        self._turn = cycle(SCANS * (True,) + (False,))
        self._looked_at: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def rescaled(self, home: Box, roi_px: float, image_size: tuple[int, int]) -> Search:
        """The same search begun anew in images of another size."""
        return Search(home, roi_px, image_size, self._view, self._colours)

    def next(self, image: NDArray[np.uint8]) -> Box:
        """A box of the size of `home` somewhere in the image."""
        if not next(self._turn):
            return next(self._grid)
        _, _, w, h = self._home
        x, y = self._resemblance(image)
        return x - w / 2, y - h / 2, w, h

    def elsewhere(self, image: NDArray[np.uint8]) -> Box:
        """A box of the size of `home` where the image resembles the target most, away from it."""
        _, _, w, h = self._home
        self._looked_at.extend([centre(self._home)] * REMEMBERED)
        x, y = self._resemblance(image)
        return x - w / 2, y - h / 2, w, h

    def _resemblance(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        """The centre of what looks most like the target and has not been looked at just before.

        Normalised correlation with the last view, in grey, and the share of colours that are the target's rather than
        the frame's.
        """
        width, height = size_of(image)
        _, _, w, h = self._home
        k = min(1.0, (TEMPLATE_AREA / (w * h)) ** 0.5, (MOST_SCANNED / (width * height)) ** 0.5)
        size = max(1, round(k * width)), max(1, round(k * height))
        small = image
        if k < 0.5:  # averaging reads every pixel: drop most of a large frame's before
            small = np.asarray(cv2.resize(image, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_NEAREST), np.uint8)
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8)
        sides = min(max(2, round(k * w)), size[0]), min(max(2, round(k * h)), size[1])
        view = cv2.resize(self._view, sides, interpolation=cv2.INTER_AREA)
        grey, grey_view = (cv2.cvtColor(part, cv2.COLOR_BGR2GRAY) for part in (small, view))
        likeness = cv2.matchTemplate(grey, grey_view, cv2.TM_CCOEFF_NORMED)
        likeness[~np.isfinite(likeness)] = 0  # of plain areas
        top, left = (sides[1] - 1) // 2, (sides[0] - 1) // 2
        bottom, right = size[1] - likeness.shape[0] - top, size[0] - likeness.shape[1] - left
        framed = cv2.copyMakeBorder(likeness, top, bottom, left, right, cv2.BORDER_CONSTANT, value=-1.0)
        score = np.asarray(framed, np.float32)
        present = counts(small)
        own = (self._colours / (self._colours + present / present.sum() + 1e-6)).astype(np.float32)[codes(small)]
        score += cv2.blur(own, sides) - AROUND * cv2.blur(own, (2 * sides[0] + 1, 2 * sides[1] + 1))
        reach = k * PITCH / 2 * self._roi_px
        for age, (x, y) in enumerate(reversed(self._looked_at)):
            rows, columns = (slice(*(max(round(k * v + d), 0) for d in (-reach, reach))) for v in (y, x))
            score[rows, columns] -= TIRING * (1 - age / REMEMBERED)
        y, x = divmod(int(score.argmax()), size[0])
        place = (x + 0.5) * width / size[0], (y + 0.5) * height / size[1]
        self._looked_at.append(place)
        return place


def looks(home: Box, roi_px: float, image_size: tuple[int, int]) -> Iterator[Box]:
    """Endless boxes of the size of `home` over an image (width, height), the nearest to `home` first, then again.

    roi_px: side of the window in which each is looked for.
    """
    pitch = max(1.0, PITCH * roi_px)
    cx, cy = centre(home)
    width, height = image_size
    columns = range(-int(cx // pitch) - 1, int((width - cx) // pitch) + 2)
    rows = range(-int(cy // pitch) - 1, int((height - cy) // pitch) + 2)
    steps = [(i, j) for i in columns for j in rows if (i, j) != (0, 0)]
    # One row beyond the frame on each side, drawn to its edge, so that the border is covered too.
    places = {(min(max(cx + i * pitch, 0), width), min(max(cy + j * pitch, 0), height)) for i, j in steps}
    ordered = sorted(places, key=lambda p: (max(abs(p[0] - cx), abs(p[1] - cy)), p))
    return cycle([(x - home[2] / 2, y - home[3] / 2, home[2], home[3]) for x, y in ordered])
