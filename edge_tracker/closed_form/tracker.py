"""The closed-form tracker as a recipe: see, find, correct, learn, judge; and in doubt, look elsewhere."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tracker.backbones.base import Backbone
from edge_tracker.boxes import Box, centre, keep_in_frame, rescaled
from edge_tracker.closed_form.belief import Belief
from edge_tracker.closed_form.camera import LEAST_JERK, Camera
from edge_tracker.closed_form.colour import region
from edge_tracker.closed_form.config import ClosedFormConfig
from edge_tracker.closed_form.first_frame import box_views, changed_views, turned_views
from edge_tracker.closed_form.head import Head
from edge_tracker.closed_form.likeness import Evidence, Presence
from edge_tracker.closed_form.motion import Motion
from edge_tracker.closed_form.optics import Optics
from edge_tracker.closed_form.place import Found, Place, over_frames
from edge_tracker.closed_form.redetection import Redetection, Search, Sighting
from edge_tracker.closed_form.refiner import Refiner
from edge_tracker.closed_form.response_map import other_peaks
from edge_tracker.closed_form.view import View
from edge_tracker.errors import ModelError
from edge_tracker.images import size_of
from edge_tracker.roi import is_plain
from edge_tracker.track import Track, TrackState

SMALLEST_SIDE_PX = 8.0  # a target that began larger is not believed to become smaller than this
REFINED_VIEWS, TURNS = 6, 12  # views of frame 1: in which the refiner's bias is measured; that it knows, turned
APART, MOST_BESIDE = 0.9, 4  # what so many sides away is another; so many of them are described at most
COLOUR_RATE, COLOUR_EVERY = 0.02, 4  # per frame; frames

# While searching, `Evidence.colour` of the target is nearly always above this (docs/closed-form.md); what has less is
# believed less, but not never: the light may have changed.
OWN_COLOURS, DOUBT = 0.2, 0.65
HOPELESS = -0.4  # match of the refiner below which no other turn has made a place likely, while searching


class Candidate(NamedTuple):
    """A box that may be the target's, crop pixels."""

    box: Box
    height: float  # of the response there
    match: float  # the refiner's
    turn: int  # the refiner's
    likeness: float | None = None  # where it is known: that of the last box that was corrected


class ClosedFormTracker:
    """Tracks one target with a frozen backbone. Nothing is learned while searching. A `track.Method`."""

    def __init__(self, backbone: Backbone, head: Head, config: ClosedFormConfig) -> None:
        """backbone: gives a coarse tap and a fine one. Raises ModelError for a head without a refinement network."""
        if head.refinement is None:
            raise ModelError(f"the head of {backbone.info.model} has no refinement network: scripts/train_refiner.py")
        self._config, self._network, self._weights = config, head.refinement, head.presence
        self._optics = Optics(backbone, head, config)
        self._belief = Belief(config.belief)
        self.box: Box = (0.0, 0.0, 1.0, 1.0)  # image pixels

    def init(self, image: NDArray[np.uint8], box: Box) -> None:
        """Learn the target from its box in the first image."""
        random = np.random.default_rng(self._config.seed)
        optics = self._optics
        self.box = self._good = box  # the last box that was believed
        self._frame, self._match, self._turn = 0, 0.0, 0  # the last two are the refiner's last word
        self._likeness = 1.0  # of the box that it corrected
        self._smallest_px = max(1.0, min(SMALLEST_SIDE_PX, *box[2:]))
        self._belief.start()
        self._redetection: Redetection | None = None  # while searching
        window = optics.window(box)
        view = optics.see(window, optics.crop(image, window))
        on_crop = view.on_crop(box)
        self._place = Place(optics, self._config)
        self._place.start(view, on_crop, changed_views(optics, image, box, self._config.place.views, random))
        self._refiner = Refiner(self._network, optics.coarse_grid, optics.fine_grid, self._config.box.trust)
        shifted = [(view, on_crop), *box_views(optics, image, box, REFINED_VIEWS, random)]
        turned = list(turned_views(optics, image, box, TURNS))
        self._refiner.start(shifted, turned)
        self._presence = Presence(view, on_crop, self._refiner.identify, self._weights)
        for other, on_other in turned:
            self._presence.remember(other, on_other)
        self._camera, self._motion = Camera(), Motion()
        self._camera.jerk(image)
        self._look = view.patch, on_crop  # of the target, when last believed

    def update(self, image: NDArray[np.uint8]) -> Track:
        """Find the target in the next image, and learn from it if it is believed."""
        self._frame += 1
        if self._redetection is not None:
            return self._seek(image, self._redetection)
        self._jerk(image)
        hurried = self._belief.state is TrackState.TRACKED and self._frame % self._config.box.every != 0
        view = self._see(image, self.box, hurried)
        if view is None:  # a black frame, a covered lens: keep all that is known
            return Track(self.box, 0.0, TrackState.LOST)
        before = self.box
        found = self._place.find(view, self._motion.expected(before) if self._belief.believed else None)
        candidate = self._uncorrected(view, found) if hurried else self._corrected(view, found)
        self.box = keep_in_frame(view.on_image(candidate.box), size_of(image), self._smallest_px)
        on_crop = view.on_crop(self.box)
        self._motion.follow(before, self.box)
        track = self._judge(image, view, candidate._replace(box=on_crop))
        gate = self._place.gate(candidate.height)
        if gate > 0 and self._belief.believed:
            self._place.learn(view, on_crop, gate, self._frame)
        sure = track.state is not TrackState.LOST and track.confidence >= self._config.identity.surely
        if sure and not hurried:
            self._keep_apart(image, view, found, on_crop)
        return track

    def _jerk(self, image: NDArray[np.uint8]) -> None:
        """Follow a jerk of the camera."""
        dx, dy = self._camera.jerk(image)
        x, y, w, h = self.box
        if dx * dx + dy * dy > LEAST_JERK**2 * w * h:
            self.box = keep_in_frame((x + dx, y + dy, w, h), size_of(image), self._smallest_px)

    def _keep_apart(self, image: NDArray[np.uint8], view: View, found: Found, box: Box) -> None:
        """Collect how the target looks, and what is seen beside it: `box` (crop pixels) is surely the target."""
        settings, frame = self._config.identity, self._frame
        if frame % settings.own_every == 0:
            self._presence.remember(view, box)
        if frame % settings.others_every == 0:
            peaks = other_peaks(found.response, settings.other_height, box, APART, MOST_BESIDE)
            boxes = [peak.box(box[2:]) for peak in peaks]
            boxes = [other for other in boxes if _in_frame(view.on_image(other), size_of(image))]
            if boxes:
                self._presence.beside(view, boxes)
        if frame % settings.look_out_every == 0:
            self._look_out(image)

    def _look_out(self, image: NDArray[np.uint8]) -> None:
        """Look at what is most like the target elsewhere in the frame: it is not the target."""
        pixels = region(*self._look, 1.0, 1)
        roi_px = self._optics.window(self.box).side
        search = Search(self.box, roi_px, size_of(image), pixels, self._presence.colours.histogram)
        place = search.elsewhere(image)
        view = self._see(image, place)
        if view is None:
            return
        found = self._place.find(view)
        box = found.box(view.on_crop(place)[2:])
        (ax, ay), (bx, by) = centre(view.on_image(box)), centre(self.box)
        apart = max(abs(ax - bx) / self.box[2], abs(ay - by) / self.box[3]) > APART
        if apart and found.peak.height > self._config.identity.other_height:
            self._presence.beside(view, [box])

    def rescale(self, kx: float, ky: float, image_size: tuple[int, int]) -> None:
        """Go on in images kx times as wide and ky times as high."""
        self.box, self._good = (rescaled(box, kx, ky, image_size) for box in (self.box, self._good))
        if self._redetection is not None:
            roi_px = self._optics.window(self._good).side
            self._redetection = self._redetection.rescaled(self._good, self.box, roi_px, image_size)

    def _see(self, image: NDArray[np.uint8], box: Box, coarsely: bool = False) -> View | None:
        """What is seen around `box` (image pixels); None where the window shows nothing at all."""
        window = self._optics.window(box)
        patch = self._optics.crop(image, window)
        return None if is_plain(patch) else self._optics.see(window, patch, coarsely)

    def _uncorrected(self, view: View, found: Found) -> Candidate:
        """The box at the peak, with what was said of the last one that was corrected."""
        box = found.box(view.on_crop(self.box)[2:])
        return Candidate(box, found.peak.height, self._match, self._turn, self._likeness)

    def _corrected(self, view: View, found: Found) -> Candidate:
        """The box at the peak, corrected."""
        return self._refined(view, found.box(view.on_crop(self.box)[2:]), found.peak.height)

    def _refined(self, view: View, box: Box, height: float, least: float = -1.0) -> Candidate:
        corrected = self._refiner.correct(view, box, self._turn, least)
        return Candidate(corrected.box, height, corrected.match, corrected.turn)

    def _probability(self, view: View, candidate: Candidate, seeking: bool = False) -> float:
        return self._weighed(self._evidence(view, candidate), seeking)

    def _evidence(self, view: View, candidate: Candidate) -> Evidence:
        box, height, match, _, likeness = candidate
        return self._presence.evidence(view, box, height, match, likeness)

    def _weighed(self, evidence: Evidence, seeking: bool = False) -> float:
        probability = self._presence.probability(evidence, seeking)
        return probability * DOUBT if seeking and evidence.colour < OWN_COLOURS else probability

    def _judge(self, image: NDArray[np.uint8], view: View, candidate: Candidate) -> Track:
        """Say how far the box is to be believed; remember how the target looks, or begin to search for it."""
        belief = self._belief
        evidence = self._evidence(view, candidate)
        probability = self._weighed(evidence)
        self._match, self._turn, self._likeness = candidate.match, candidate.turn, evidence.likeness
        if belief.believed:
            self._remember(view, candidate)
        state = belief.follow(probability)
        if belief.trusts(probability):
            self._good = self.box
        if belief.searching:
            roi_px, colours = self._optics.window(self._good).side, self._presence.colours.histogram
            self._redetection = Redetection.begun(image, self._good, self.box, roi_px, self._look, colours)
        return Track(self.box, belief.confidence, state)

    def _remember(self, view: View, candidate: Candidate) -> None:
        """Keep how the target looks now."""
        self._look = view.patch, candidate.box
        if self._frame % COLOUR_EVERY == 0 and candidate.height > self._config.place.gate_high:
            self._presence.colours.learn(view.patch, candidate.box, over_frames(COLOUR_RATE, COLOUR_EVERY))

    def _seek(self, image: NDArray[np.uint8], redetection: Redetection) -> Track:
        """While searching: look in two places, learn nothing."""
        best = redetection.step(image, partial(self._sighting, image), self._belief, self._frame)
        self.box, self._turn = redetection.box, best.turn
        state = self._belief.seek(best.probability, redetection.elsewhere)
        if not self._belief.searching:
            self._good, self._redetection = self.box, None
            self._camera, self._motion = Camera(), Motion()
            self._camera.jerk(image)
        return Track(self.box, self._belief.confidence, state)

    def _sighting(self, image: NDArray[np.uint8], place: Box, seeking: bool) -> Sighting:
        """Look closely around `place` (image pixels) for the target."""
        view = self._see(image, place)
        if view is None:
            return Sighting(place, 0.0, 0.0)
        found = self._place.find(view)
        if not self._belief.answers(found.peak.height):  # then the rest has never said that it is the target
            return Sighting(place, 0.0, found.peak.height)
        candidate = self._refined(view, found.box(view.on_crop(place)[2:]), found.peak.height, HOPELESS)
        box = keep_in_frame(view.on_image(candidate.box), size_of(image), self._smallest_px)
        probability = self._probability(view, candidate._replace(box=view.on_crop(box)), seeking)
        return Sighting(box, probability, found.peak.height, candidate.turn)


def _in_frame(box: Box, size: tuple[int, int]) -> bool:
    """Whether the centre of a box lies in a frame of this size (width, height)."""
    x, y = centre(box)
    return 0 <= x < size[0] and 0 <= y < size[1]
