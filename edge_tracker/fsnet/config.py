"""Settings of FSNet: immutable, checked when made."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tracker.errors import ConfigError

SELECTIONS = ("mi", "random", "all")
POOLINGS = ("align", "pool")


@dataclass(frozen=True)
class FsnetConfig:
    """Settings of FSNet, by the paper's names where it has them; chosen on training sequences, docs/fsnet.md.

    Raises ConfigError where a value is out of range.
    """

    maps: int = 128  # that are kept
    selection: str = "mi"  # by mutual information, at random, or all maps
    pooling: str = "align"  # max-RoIAlign, or RoIPool
    points: int = 2  # of RoIAlign, along each side of a bin
    window: float = 5.0  # side of what is looked at, over sqrt(w h)
    input_side: int = 320  # of it as the backbone sees it, pixels
    hidden: int = 512  # outputs of fc4 and fc5
    dropout: float = 0.0  # while tracking
    candidates: int = 256
    spread: float = 0.3  # of the candidates, standard deviation over the mean side
    size_spread: float = 0.05  # of log size
    averaged: int = 5  # the mean of so many best candidates is taken
    m: float = 0.0  # score from which a frame is learned, under which the classifier is fine-tuned
    l: float | None = 0.01  # noqa: E741  # loss under which a fine-tuning ends; None: never before its iterations
    iterations: int = 10  # of a fine-tuning, at most
    iterations_first: int = 40  # likewise in frame 1
    rate_first: float = 0.005  # of SGD in frame 1
    rate: float = 0.0075  # later
    long_every: int = 10  # frames, of a fine-tuning whatever the score
    long_frames: int = 100  # whose positives are remembered
    negative_frames: int = 30  # whose negatives are remembered
    short_frames: int = 20  # whose positives a fine-tuning at a low score takes
    iterations_per_frame: int = 2  # of a fine-tuning: it is spread over frames
    box_ridge: float = 0.1  # of the bounding-box regression
    seed: int = 0

    def __post_init__(self) -> None:
        if self.selection not in SELECTIONS or self.pooling not in POOLINGS:
            raise ConfigError("selection or pooling is unknown")
