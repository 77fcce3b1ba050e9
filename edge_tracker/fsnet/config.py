"""Settings of FSNet: immutable, in groups, checked when made. By the paper's names where it has them; chosen on
training sequences, docs/fsnet.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from edge_tracker.closed_form.config import BeliefSettings
from edge_tracker.errors import ConfigError
from edge_tracker.settings import Above, Between, check

Selection = Literal["mi", "random", "all"]
Pooling = Literal["align", "pool"]


@dataclass(frozen=True)
class MapSettings:
    """Which maps a target uses, and how boxes are pooled from them."""

    count: Annotated[int, Between(1, 8192), "maps that are kept"] = 128
    selection: Annotated[Selection, "by mutual information, at random, or all maps"] = "mi"
    layers: Annotated[Literal["both", "deep", "fine"], "of the model's two taps"] = "both"
    pooling: Annotated[Pooling, "max-RoIAlign, or RoIPool"] = "align"
    points: Annotated[int, Between(1, 8), "of RoIAlign along each side of a bin"] = 2

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TuningSettings:
    """When and how long the classifier is fine-tuned (III-E), and what it remembers."""

    m: Annotated[float, Between(-100, 100), "score above which a frame is learned, below which fine-tuning begins"] = (
        0.0
    )
    loss_enough: Annotated[float | None, "l, the loss at which a fine-tuning ends; none: after all iterations"] = 0.01
    iterations: Annotated[int, Between(1, 1000), "of a fine-tuning at most"] = 10
    iterations_first: Annotated[int, Between(1, 10_000), "the same in frame 1"] = 40
    rate: Annotated[float, Above(0), "of gradient descent"] = 0.01
    rate_first: Annotated[float, Above(0), "the same in frame 1"] = 0.01
    dropout: Annotated[float, Between(0, 0.9), "share of fc4's and fc5's outputs dropped"] = 0.0
    long_every: Annotated[int, Between(1, 10_000), "frames between fine-tunings whatever the score"] = 10
    long_frames: Annotated[int, Between(1, 1000), "last frames whose positives are remembered"] = 100
    negative_frames: Annotated[int, Between(1, 1000), "last frames whose negatives are remembered"] = 30
    short_frames: Annotated[int, Between(0, 1000), "last frames whose positives serve at a low score"] = 20
    per_frame: Annotated[int, Between(1, 1000), "iterations done in one frame: a fine-tuning is spread"] = 2

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class FsnetConfig:
    """Settings of FSNet. Raises ConfigError where a value has the wrong type or is out of range."""

    window: Annotated[float, Between(2, 20), "side of the square that is looked at, over sqrt(w h)"] = 5.0
    input_side: Annotated[int, Between(64, 4096), "of it as the backbone sees it, pixels"] = 320
    candidates: Annotated[int, Between(1, 100_000), "boxes that are judged in a frame"] = 256
    spread: Annotated[float, Above(0), "standard deviation of their centres, of the mean side"] = 0.3
    size_spread: Annotated[float, Between(0, 1), "the same of their log sizes"] = 0.05
    averaged: Annotated[int, Between(1, 100_000), "best candidates whose mean is taken"] = 5
    hidden: Annotated[int, Between(1, 8192), "outputs of fc4 and fc5 where they are not pre-trained"] = 512
    box_ridge: Annotated[float, Above(0), "regularisation of the box regression"] = 0.1
    size_gain: Annotated[float, Between(0, 1), "share of the regressed size with which the search goes on"] = 0.2
    maps: MapSettings = field(default_factory=MapSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    # A search in doubt ends the fine-tuning that doubt begins: on sequences it costs more than it finds.
    belief: BeliefSettings = field(default_factory=lambda: BeliefSettings(found_above=0.8, search_after=10_000))
    seed: Annotated[int, Between(0, 2**63 - 1), "random seed"] = 0

    def __post_init__(self) -> None:
        check(self)
        if self.input_side % 32:
            raise ConfigError(f"input_side is a multiple of 32, not {self.input_side}")
        if self.averaged > self.candidates:
            raise ConfigError(f"averaged is at most candidates, {self.candidates}, not {self.averaged}")
