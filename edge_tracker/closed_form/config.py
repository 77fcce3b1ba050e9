"""Settings of the closed-form tracker: immutable, in groups, checked when made. Chosen on training sequences,
docs/closed-form.md. Rates are per frame, whatever the `learn_every` are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from edge_tracker.errors import ConfigError
from edge_tracker.settings import Above, Between, check

Share = Between(0, 1)
Gain = tuple[float, float, float]


@dataclass(frozen=True)
class PlaceSettings:
    """Where the target is: the ridge filter on the coarse tap, and what both filters share."""

    channels: Annotated[int, Between(1, 4096), "channels of the coarse tap after projection"] = 32
    target_sigma: Annotated[float, Above(0), "width of the Gaussian to be answered, of the box's sides"] = 0.13
    ridge: Annotated[float, Above(0), "regularisation, of the mean diagonal"] = 0.03
    rate: Annotated[float, Share, "learning rate per frame"] = 0.02
    anchor: Annotated[float, Share, "share of frame 1 that stays in all filters, the scale filter's too"] = 0.2
    solver_steps: Annotated[int, Between(1, 1000), "conjugate-gradient steps per solution"] = 4
    learn_every: Annotated[int, Between(1, 10_000), "frames between two solutions"] = 3
    views: Annotated[int, Between(0, 1000), "changed views of frame 1 that are learned"] = 20
    motion_sigma: Annotated[float, Above(0), "width of the prior around the last place, of the ROI's side"] = 0.4
    gate_low: Annotated[float, Share, "height of the response peak up to which nothing is learned"] = 0.1
    gate_high: Annotated[float, Share, "height of the response peak from which the full rate is learned"] = 0.4

    def __post_init__(self) -> None:
        check(self)
        if self.gate_low >= self.gate_high:
            raise ConfigError(f"gate_low is below gate_high, not {self.gate_low:g} and {self.gate_high:g}")


@dataclass(frozen=True)
class FineSettings:
    """The correlation filter on the fine tap."""

    weight: Annotated[float, Share, "share of its answer in the response"] = 0.4
    channels: Annotated[int, Between(1, 4096), "channels of the fine tap after projection"] = 48
    sigma: Annotated[float, Above(0), "width of the Gaussian to be answered, of sqrt(w h)"] = 0.1
    ridge: Annotated[float, Above(0), "regularisation, of the mean spectrum"] = 0.01
    rate: Annotated[float, Share, "learning rate per frame"] = 0.02
    learn_every: Annotated[int, Between(1, 10_000), "frames between two updates"] = 2

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class BoxSettings:
    """How the box is corrected: by the refiner where the head has one, else by a regressor learned in frame 1."""

    refiner_trust: Annotated[
        Gain, "error of the refiner at which half of its correction is applied: position, size, aspect"
    ] = (0.1, 0.032, 0.1)
    refine_every: Annotated[int, Between(1, 10_000), "frames between two refinements while the target is believed"] = 2
    regressor_ridge: Annotated[float, Above(0), "regularisation of the regressor"] = 1.0
    regressor_gain: Annotated[Gain, "share of the regressor's correction that is applied"] = (0.3, 0.2, 0.05)
    regressor_learn_every: Annotated[int, Between(1, 10_000), "frames between two updates of the regressor"] = 20

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ScaleSettings:
    """The scale filter."""

    levels: Annotated[int, Between(3, 99), "sizes that are compared, odd"] = 13
    step: Annotated[float, Between(1.001, 1.5), "factor between two sizes"] = 1.04
    area_px: Annotated[float, Between(16, 65_536), "area of the template, pixels"] = 512.0
    rate: Annotated[float, Share, "learning rate per frame"] = 0.02
    every: Annotated[int, Between(1, 10_000), "frames between two estimates"] = 2
    gain: Annotated[float, Between(0, 4), "power of a factor over several frames that is applied"] = 1.4

    def __post_init__(self) -> None:
        check(self)
        if self.levels % 2 == 0:
            raise ConfigError(f"levels is odd, not {self.levels}")


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
    lost_after: Annotated[int, Between(1, 1000), "frames of the plainest kind until LOST; of others more"] = 3
    denied_below: Annotated[
        float, Between(-1, 1), "refiner's match below which places beside a box in doubt are looked at"
    ] = -0.1
    trail_height: Annotated[float, Share, "while LOST, peak height down to which the last box is still followed"] = 0.15
    found_above: Annotated[float, Share, "confidence that ends a search"] = 0.6

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
    fine: FineSettings | None = field(default_factory=FineSettings)  # None: the coarse tap alone, no refiner
    box: BoxSettings = field(default_factory=BoxSettings)
    scale: ScaleSettings = field(default_factory=ScaleSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    belief: BeliefSettings = field(default_factory=BeliefSettings)
    seed: Annotated[int, Between(0, 2**63 - 1), "random seed"] = 0

    def __post_init__(self) -> None:
        check(self)
        if self.input_side % 32:
            raise ConfigError(f"input_side is a multiple of 32, not {self.input_side}")


# Without the fine tap; what is left is learned and measured less often.
FAST = ClosedFormConfig(
    place=PlaceSettings(gate_low=0.05, gate_high=0.3),  # the response lacks what the fine tap adds
    fine=None,
    scale=ScaleSettings(levels=11),
    # There is no refiner to say when what is followed is the target again; what is said of a box is less sure.
    belief=BeliefSettings(leaving=0.1, returning=0.005, lost_after=2, trail_height=0.3),
)
