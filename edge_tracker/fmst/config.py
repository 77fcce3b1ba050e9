"""Settings of FMST, with the paper's names where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_tracker.errors import ConfigError
from edge_tracker.settings import AtLeast, Between, check

MapType = Literal["S", "C", "SC"]
LayerMode = Literal["concat", "sum"]


@dataclass(frozen=True)
class FmstConfig:
    """Settings of FMST. docs/trials.md says how the defaults were chosen.

    The paper prints sigma_xy = 0.01 and sigma_wh = 1/3. Its Eq. 12 (mean size 0.996) makes sense only with the two
    exchanged, so they are exchanged here.

    Raises ConfigError where a value has the wrong type or is out of range.
    """

    roi_scale: Annotated[float, Between(1, 20), "side of the square ROI / diagonal of the box; FCNT has 2"] = 2.3
    maps: Annotated[MapType, "type of the target map (section 2.2.2): S, C, or SC for the sum of both"] = "S"
    layers: Annotated[
        LayerMode, "concat: one prediction map per stride (section 4); sum: one per layer, added (Algorithm 1)"
    ] = "concat"
    fraction: Annotated[float, Between(0, 1, above=True), "share of the channels that is selected (Eq. 5)"] = 0.10
    alpha: Annotated[
        Annotated[float, Between(0, 10)] | None,
        "weight of the negative map (Eq. 13); none: that of the weight network, or 0 without one",
    ] = None
    eta: Annotated[float, Between(0, 1), "weight of the past in the averaged channel scores (Eq. 6)"] = 0.99
    candidates: Annotated[int, Between(1, 1_000_000), "boxes drawn per frame (N_R)"] = 600
    averaged: Annotated[int, AtLeast(1), "number of best candidates whose mean is the new box; the paper: 1"] = 5
    sigma_xy: Annotated[
        float, Between(0, 10), "standard deviation of the candidates' position / max(w, h) (Eq. 7, 8)"
    ] = 1 / 3
    sigma_wh: Annotated[float, Between(0, 1), "standard deviation of the candidates' size / last size (Eq. 9, 12)"] = (
        0.01
    )
    mean_size: Annotated[float, Between(0.5, 2), "mean of the candidates' size / last size (Eq. 12)"] = 0.998
    b: Annotated[
        float,
        Between(-1, 1),
        "value subtracted from the prediction map, which is in [0, 1], before a box is scored (Eq. 10)",
    ] = 0.2
    seed: Annotated[int, Between(0, 2**63 - 1), "random seed of the candidates"] = 0

    def __post_init__(self) -> None:
        check(self)
        if self.averaged > self.candidates:
            raise ConfigError(f"cannot average {self.averaged} of {self.candidates} candidates")
