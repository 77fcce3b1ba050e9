"""Settings of the closed-form tracker: immutable, in groups, checked when made. Chosen on training sequences,
docs/closed-form.md. Rates are per frame, whatever `learn_every` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from edge_tracker.errors import ConfigError
from edge_tracker.settings import Above, Between, check

Share = Between(0, 1)
Gain = tuple[float, float, float]


@dataclass(frozen=True)
class PlaceSettings:
    """Where the target is: the ridge filter on the coarse tap."""

    target_sigma: Annotated[float, Above(0), "width of the Gaussian to be answered, of the box's sides"] = 0.13
    ridge: Annotated[float, Above(0), "regularisation, of the mean diagonal"] = 0.03
    rate: Annotated[float, Share, "learning rate per frame"] = 0.02
    anchor: Annotated[float, Share, "share of frame 1 that stays in the filter"] = 0.2
    solver_steps: Annotated[int, Between(1, 1000), "conjugate-gradient steps per solution"] = 4
    learn_every: Annotated[int, Between(1, 10_000), "frames between two solutions"] = 3
    views: Annotated[int, Between(0, 1000), "changed views of frame 1 that are learned"] = 20
    motion_sigma: Annotated[float, Above(0), "width of the prior around the last place, of the ROI's side"] = 0.4
    gate_low: Annotated[float, Share, "height of the response peak up to which nothing is learned"] = 0.05
    gate_high: Annotated[float, Share, "height of the response peak from which the full rate is learned"] = 0.3

    def __post_init__(self) -> None:
        check(self)
        if self.gate_low >= self.gate_high:
            raise ConfigError(f"gate_low is below gate_high, not {self.gate_low:g} and {self.gate_high:g}")


@dataclass(frozen=True)
class BoxSettings:
    """How the refiner corrects the box."""

    trust: Annotated[
        Gain, "error of the refiner at which half of its correction is applied: position, size, aspect"
    ] = (0.4, 0.05, 0.1)
    every: Annotated[int, Between(1, 10_000), "frames between two corrections while the target is believed"] = 1

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class IdentitySettings:
    """What the target looks like, and what is seen beside it (`likeness`)."""

    surely: Annotated[float, Share, "confidence from which looks are collected"] = 0.7
    own_every: Annotated[int, Between(1, 10_000), "frames between two looks of the target"] = 4
    others_every: Annotated[int, Between(1, 10_000), "frames between two collections of what is beside it"] = 3
    other_height: Annotated[float, Share, "response peak from which something beside the target is collected"] = 0.12
    look_out_every: Annotated[int, Between(1, 10_000), "frames between two looks at what is like it elsewhere"] = 24

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class BeliefSettings:
    """When a box is believed, doubted, given up and believed again (`belief`)."""

    rate: Annotated[float, Share, "weight of the newest frame in the confidence"] = 0.7
    tracked_above: Annotated[float, Share, "confidence from which the state is TRACKED"] = 0.8
    uncertain_below: Annotated[float, Share, "confidence below which the box is in doubt"] = 0.6
    leaving: Annotated[float, Between(1e-6, 0.5), "chance per frame that the box leaves the target"] = 0.05
    returning: Annotated[float, Between(1e-6, 0.5), "chance per frame that a box beside the target comes upon it"] = (
        0.05
    )
    lost_after: Annotated[
        int, Between(1, 1000), "frames in a row until LOST, of those in which the box is plainly wrong; of others more"
    ] = 3
    search_after: Annotated[int, Between(1, 10_000), "frames in doubt after which the target is searched for"] = 3
    trail_height: Annotated[
        float, Share, "while LOST, peak height (fsnet: probability) down to which the last box is still followed"
    ] = 0.15
    found_above: Annotated[float, Share, "confidence from which what is searched for is found"] = 0.6
    proving: Annotated[
        int, Between(0, 10_000), "frames after it was found in which other places are still looked at, and compared"
    ] = 40

    def __post_init__(self) -> None:
        check(self)
        if self.tracked_above < self.uncertain_below:
            raise ConfigError(f"tracked_above is at least uncertain_below, not {self.tracked_above:g}")


@dataclass(frozen=True)
class ClosedFormConfig:
    """Settings of the closed-form tracker; the defaults are those of "accurate".

    Raises ConfigError where a value has the wrong type or is out of range.
    """

    roi_scale: Annotated[float, Between(1.5, 10), "side of the square ROI over sqrt(w h)"] = 3.2
    input_side: Annotated[int, Between(64, 4096), "side of the ROI as the backbone sees it, pixels"] = 192
    place: PlaceSettings = field(default_factory=PlaceSettings)
    box: BoxSettings = field(default_factory=BoxSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    belief: BeliefSettings = field(default_factory=BeliefSettings)
    seed: Annotated[int, Between(0, 2**63 - 1), "random seed"] = 0

    def __post_init__(self) -> None:
        check(self)
        if self.input_side % 32:
            raise ConfigError(f"input_side is a multiple of 32, not {self.input_side}")


# The box is corrected less often, and then all at once. What is under it is compared in the same frames alone.
FAST = ClosedFormConfig(
    box=BoxSettings(trust=(0.6, 0.15, 0.4), every=3), identity=IdentitySettings(own_every=3, others_every=3)
)
