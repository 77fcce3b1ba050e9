"""Settings of FMST, by the paper's names where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tracker.errors import ConfigError
from edge_tracker.settings import AtLeast, Between, check

MapType = Literal["S", "C", "SC"]
LayerMode = Literal["concat", "sum"]


@dataclass(frozen=True)
class FmstConfig:
    """Settings of FMST. Defaults: see docs/results.md.

    The paper prints sigma_xy = 0.01 and sigma_wh = 1/3; its Eq. 12 (mean size 0.996) makes sense only with the
    two exchanged, and so they are here.

    Raises ConfigError where a value has the wrong type or is out of range.
    """

    roi_scale: Annotated[float, Between(1, 20), "side of the square ROI over the diagonal of the box; FCNT has 2"] = 2.3
    maps: Annotated[MapType, "target maps (section 2.2.2): S, C, or SC for the sum of both"] = "S"
    layers: Annotated[
        LayerMode, "concat: the layers of a stride make one map (section 4); sum: one map per layer, added"
    ] = "concat"
    fraction: Annotated[float, Between(0, 1, above=True), "share of channels that are selected (Eq. 5)"] = 0.10
    alpha: Annotated[
        Annotated[float, Between(0, 10)] | None,
        "weight of the negative map (Eq. 13); none: the network's own, or 0",
    ] = None
    eta: Annotated[float, Between(0, 1), "smoothing of the channel scores (Eq. 6)"] = 0.99
    candidates: Annotated[int, Between(1, 1_000_000), "boxes drawn per frame (N_R)"] = 600
    averaged: Annotated[int, AtLeast(1), "best candidates whose mean is taken; the paper takes the best one"] = 5
    sigma_xy: Annotated[float, Between(0, 10), "spread of candidates in position, of max(w, h) (Eq. 7, 8)"] = 1 / 3
    sigma_wh: Annotated[float, Between(0, 1), "spread of candidates in size, of w and h together (Eq. 9, 12)"] = 0.01
    mean_size: Annotated[float, Between(0.5, 2), "mean size of candidates over the last size (Eq. 12)"] = 0.998
    b: Annotated[float, Between(-1, 1), "subtracted from the normalised map (Eq. 10)"] = 0.2
    seed: Annotated[int, Between(0, 2**63 - 1), "random seed"] = 0

    def __post_init__(self) -> None:
        check(self)
        if self.averaged > self.candidates:
            raise ConfigError(f"cannot average {self.averaged} of {self.candidates} candidates")
