"""Settings of the trackers: immutable, checked when made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_tracker.errors import ConfigError

MAP_TYPES = ("S", "C", "SC")
LAYER_MODES = ("concat", "sum")


@dataclass(frozen=True)
class DcfConfig:
    """Settings of the closed-form head; chosen on training sequences, docs/dcf.md.

    Rates are per frame, whatever the `..._every` are. Raises ConfigError where a value is out of range.
    """

    roi_scale: float = 3.2  # side of the square ROI over sqrt(w h)
    input_side: int = 192  # of the ROI as the backbone sees it, pixels
    channels: int = 32  # of the coarse tap, after projection
    target_sigma: float = 0.13  # of the target map, of the box's sides
    ridge: float = 0.03  # of the mean diagonal
    rate: float = 0.02
    anchor: float = 0.2  # share of frame 1, in the scale filter too
    solver_steps: int = 4
    learn_every: int = 3  # frames
    views: int = 20  # of frame 1, shifted, zoomed, turned, stretched and blurred, that are learned
    fine_weight: float = 0.4  # of the correlation filter on the fine tap in the response; 0 leaves it out
    fine_channels: int = 48
    fine_sigma: float = 0.1  # of its Gaussian, of sqrt(w h)
    fine_ridge: float = 0.01
    fine_rate: float = 0.02
    fine_learn_every: int = 2
    motion_sigma: float = 0.4  # of the prior around the last place, of the ROI
    gate_low: float = 0.1  # height of the response peak at which nothing is learned
    gate_high: float = 0.4  # ... from which all is learned
    box_ridge: float = 1.0
    box_gain: tuple[float, float, float] = (0.3, 0.2, 0.05)  # share of the error corrected: position, size, aspect
    box_learn_every: int = 20
    refine_gain: tuple[float, float, float] = (0.8, 0.14, 0.35)  # likewise, by the refiner: needs the default channels
    refine_every: int = 2  # frames; in every frame while the confidence is low
    scale_levels: int = 13
    scale_step: float = 1.04
    scale_area_px: float = 512.0  # of the template
    scale_rate: float = 0.02
    scale_every: int = 1  # frames
    belief_rate: float = 0.7  # of averaging the probability that the box is right
    uncertain_below: float = 0.6  # of that average
    lost_below: float = 0.5
    lost_height: float = 0.5  # of the peak, averaged likewise: LOST needs both to be low
    known_above: float = 0.35  # of what the refiner says, from -1 to 1: not LOST, with a peak of half of that height
    denied_below: float = -0.1  # likewise: LOST whatever the height; in doubt, places beside the box are looked at
    lost_after: int = 5  # such frames, less those between them that are not
    trail_height: float = 0.15  # of the peak: while LOST, what was followed at last is followed on until it is lower
    found_above: float = 0.6  # average, likewise, that ends a search
    new_view_below: float = 0.7  # likeness under which a believed box is remembered as another view of the target
    new_view_height: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1.5 <= self.roi_scale <= 10:
            raise ConfigError(f"roi_scale lies between 1.5 and 10, not {self.roi_scale!r}")
        if self.input_side < 64 or self.input_side % 32:
            raise ConfigError(f"input_side is a multiple of 32 and at least 64, not {self.input_side!r}")
        for name in (
            "channels",
            "fine_channels",
            "solver_steps",
            "learn_every",
            "fine_learn_every",
            "box_learn_every",
            "lost_after",
            "refine_every",
            "scale_every",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1, not {getattr(self, name)!r}")
        for name in (
            "target_sigma",
            "ridge",
            "fine_sigma",
            "fine_ridge",
            "motion_sigma",
            "box_ridge",
            "scale_area_px",
        ):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} is above 0, not {getattr(self, name)!r}")
        for name in (
            "rate",
            "anchor",
            "fine_weight",
            "fine_rate",
            "gate_low",
            "gate_high",
            "scale_rate",
            "belief_rate",
            "uncertain_below",
            "lost_below",
            "lost_height",
            "trail_height",
            "found_above",
            "new_view_below",
            "new_view_height",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} lies between 0 and 1, not {getattr(self, name)!r}")
        if self.gate_low >= self.gate_high or self.lost_below > self.uncertain_below:
            raise ConfigError("gate_low is below gate_high, and lost_below no higher than uncertain_below")
        if not -1 <= self.denied_below <= self.known_above <= 1:
            raise ConfigError("denied_below and known_above lie between -1 and 1, in this order")
        if self.scale_levels < 3 or self.scale_levels % 2 == 0 or not 1 < self.scale_step < 1.5:
            raise ConfigError("scale_levels is odd and at least 3, scale_step above 1 and under 1.5")
        if self.views < 0 or self.seed < 0:
            raise ConfigError("views and seed are not negative")


@dataclass(frozen=True)
class FmstConfig:
    """Settings of FMST, by the paper's names where it has them. Defaults: see docs/results.md.

    The paper prints sigma_xy = 0.01 and sigma_wh = 1/3; its Eq. 12 (mean size 0.996) makes sense only with the
    two exchanged, and so they are here.

    Raises ConfigError where a value is out of range.
    """

    roi_scale: float = 2.3  # side of the square ROI over the diagonal of the box; FCNT has 2
    maps: str = "S"  # target maps: S, C, or SC for the sum of both (section 2.2.2)
    layers: str = "concat"  # "concat": the layers of a stride as one F (section 4); "sum": one map per layer
    fraction: float = 0.10  # share of channels that are selected (Eq. 5)
    alpha: float | None = None  # weight of the map of negative features (Eq. 13); None: 0, or the weight network's own
    eta: float = 0.99  # smoothing of the channel scores (Eq. 6)
    candidates: int = 600  # N_R
    averaged: int = 5  # the mean of so many best candidates is taken; the paper takes the best one
    sigma_xy: float = 1 / 3  # of max(w, h) (Eq. 7, 8)
    sigma_wh: float = 0.01  # of w and h together (Eq. 9, 12)
    mean_size: float = 0.998  # mean of the size factor (Eq. 12)
    b: float = 0.2  # subtracted from the normalised map (Eq. 10)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.maps not in MAP_TYPES:
            raise ConfigError(f"maps is one of {', '.join(MAP_TYPES)}, not {self.maps!r}")
        if self.layers not in LAYER_MODES:
            raise ConfigError(f"layers is one of {', '.join(LAYER_MODES)}, not {self.layers!r}")
        for name, low, high in (
            ("roi_scale", 1.0, 20.0),
            ("fraction", 0.0, 1.0),
            ("alpha", 0.0, 10.0),
            ("eta", 0.0, 1.0),
            ("candidates", 1, 1_000_000),
            ("averaged", 1, 1_000_000),
            ("sigma_xy", 0.0, 10.0),
            ("sigma_wh", 0.0, 1.0),
            ("mean_size", 0.5, 2.0),
            ("b", -1.0, 1.0),
            ("seed", 0, 2**63),
        ):
            value = getattr(self, name)
            if name == "alpha" and value is None:
                continue
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f"{name} lies between {low:g} and {high:g}, not {value!r}")
        if self.averaged > self.candidates:
            raise ConfigError(f"cannot average {self.averaged} of {self.candidates} candidates")
        if self.fraction == 0:
            raise ConfigError("fraction is above 0: some channel must be selected")
