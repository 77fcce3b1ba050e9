"""What a weight network is trained for, in torch: the tracker's own steps, differentiable, and objectives over them.

Every objective takes the features (n, H W, C) of the later frame, the weights (w_p, w_n), each (n, C), the boxes of a
batch in cells, and gives a loss to be made small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_tracker.fmst.config import FmstConfig
from edge_tracker.fmst.tracker import PREDICTION_SIDE
from edge_tracker.grid import cubic

Weights = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Batch:
    """n pairs; boxes in cells of the grid of `side` x `side`."""

    features: Tensor  # (n, side side, C)
    previous: Tensor  # (n, 4)
    truth: Tensor  # (n, 4)
    scores: Tensor  # (n, C)
    first: Tensor  # (n, C)
    side: int


@dataclass(frozen=True)
class ObjectiveSettings:
    """alpha: Eq. 13. sigma_wh: of the candidates' size; far wider than the tracker's 0.01, so that the loss sees
    where position and size would drift to over many frames, not what one frame can do. temperature: of the softmax,
    of the largest confidence. b: Eq. 10."""

    alpha: float = 0.5
    sigma_wh: float = 0.25
    temperature: float = 0.02
    candidates: int = 256
    b: float = FmstConfig.b


def scale(maps: Tensor) -> Tensor:
    """Each map of (..., H W) linearly to [0, 1]."""
    low, high = maps.amin(-1, keepdim=True), maps.amax(-1, keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-6)


def maps_of(batch: Batch, weights: Weights) -> Tensor:
    """Eq. 3 for both weights: (n, 2, H W)."""
    return torch.bmm(torch.stack(weights, 1), batch.features.transpose(1, 2))


def prediction(batch: Batch, weights: Weights, alpha: float) -> Tensor:
    """Eq. 13, resampled as the tracker does: (n, P, P) in [0, 1]."""
    positive, negative = scale(maps_of(batch, weights)).unbind(1)
    values = (positive - alpha * negative).clamp_min(0)
    values = (values / values.amax(1, keepdim=True).clamp_min(1e-6)).view(-1, batch.side, batch.side)
    at = (torch.arange(PREDICTION_SIDE, dtype=torch.float64) + 0.5) * batch.side / PREDICTION_SIDE - 0.5
    matrix = torch.from_numpy(cubic(at.numpy(), batch.side))
    return scale((matrix @ values @ matrix.T).flatten(1)).view(-1, PREDICTION_SIDE, PREDICTION_SIDE)


def coverage(boxes: Tensor, side: int) -> Tensor:
    """Share of each cell that a box (n, 4) covers: (n, side, side)."""
    edges = torch.arange(side + 1.0)

    def along(start: Tensor, length: Tensor) -> Tensor:
        inside = torch.minimum(torch.maximum(edges, start[:, None]), (start + length)[:, None])
        return inside.diff(dim=1)

    return along(boxes[:, 1], boxes[:, 3])[:, :, None] * along(boxes[:, 0], boxes[:, 2])[:, None, :]


def enlarged(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (..., 4) times `factor` around their centres."""
    size = boxes[..., 2:] * factor
    return torch.cat([boxes[..., :2] + (boxes[..., 2:] - size) / 2, size], -1)


def target_map_s(boxes: Tensor, side: int) -> Tensor:
    """Target map S: (n, side side)."""
    return (2 * coverage(boxes, side) - coverage(enlarged(boxes, 2), side)).flatten(1)


def draw(previous: Tensor, settings: ObjectiveSettings, generator: torch.Generator) -> Tensor:
    """Eq. 7 to 9 around each previous box: (n, k, 4); sizes log-normal, being wide."""
    z = torch.randn(len(previous), settings.candidates, 3, generator=generator)
    size = previous[:, None, 2:] * torch.exp(settings.sigma_wh * z[..., 2:])
    centre = (previous[:, :2] + previous[:, 2:] / 2)[:, None]
    centre = centre + FmstConfig.sigma_xy * previous[:, 2:].amax(1)[:, None, None] * z[..., :2]
    return torch.cat([centre - size / 2, size], -1)


def confidences(values: Tensor, candidates: Tensor, previous: Tensor, b: float) -> Tensor:
    """Eq. 10 and 11. values (n, P, P), candidates (n, k, 4) in cells of that map, previous (n, 4) likewise ->
    (n, k)."""
    side = values.shape[1]
    integral = torch.nn.functional.pad((values - b).cumsum(1).cumsum(2), (1, 0, 1, 0)).flatten(1)
    corners = torch.cat([candidates[..., :2], candidates[..., :2] + candidates[..., 2:]], -1).clamp(0, side)
    cells = corners.floor().clamp(max=side - 1)
    within, cells = corners - cells, cells.long()

    def look_up(x: int, y: int) -> Tensor:
        """The integral up to the corner whose coordinates are columns x and y, bilinear."""
        u, v = within[..., x], within[..., y]
        start = cells[..., y] * (side + 1) + cells[..., x]
        upper = integral.gather(1, start) * (1 - u) + integral.gather(1, start + 1) * u
        lower = integral.gather(1, start + side + 1) * (1 - u) + integral.gather(1, start + side + 2) * u
        return upper * (1 - v) + lower * v

    scores = look_up(2, 3) - look_up(0, 3) - look_up(2, 1) + look_up(0, 1)
    offset = candidates[..., :2] + candidates[..., 2:] / 2 - (previous[:, :2] + previous[:, 2:] / 2)[:, None]
    near = (1 - offset.square().sum(-1).sqrt() / (side / 2)).clamp_min(0)
    return near * (scores - scores.amin(1, keepdim=True))


def overlaps(candidates: Tensor, truth: Tensor) -> Tensor:
    """IoU of (n, k, 4) with (n, 4): (n, k)."""
    truth = truth[:, None]
    low = torch.maximum(candidates[..., :2], truth[..., :2])
    high = torch.minimum(candidates[..., :2] + candidates[..., 2:], truth[..., :2] + truth[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    return shared / (candidates[..., 2:].prod(-1) + truth[..., 2:].prod(-1) - shared)


def rated(
    batch: Batch, weights: Weights, settings: ObjectiveSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Confidence and IoU of candidates: (n, k), (n, k)."""
    values = prediction(batch, weights, settings.alpha)
    candidates = draw(batch.previous, settings, generator)
    finer = PREDICTION_SIDE / batch.side
    confidence = confidences(values, candidates * finer, batch.previous * finer, settings.b)
    return confidence, overlaps(candidates, batch.truth)


def expected_overlap(batch: Batch, weights: Weights, settings: ObjectiveSettings, generator: torch.Generator) -> Tensor:
    """Minus the IoU expected of a candidate drawn by the softmax of the confidences: what the tracker maximises."""
    confidence, overlap = rated(batch, weights, settings, generator)
    largest = confidence.amax(1, keepdim=True).clamp_min(1e-6)
    return -((confidence / largest / settings.temperature).softmax(1) * overlap).sum(1).mean()


def paper(batch: Batch, weights: Weights, _: ObjectiveSettings, __: torch.Generator) -> Tensor:
    """Eq. 16 for w_p with M and for w_n with -M, on the maps as they are."""
    positive, negative = maps_of(batch, weights).unbind(1)
    return -((positive - negative) * target_map_s(batch.truth, batch.side)).sum(1).mean()


def paper_normalised(batch: Batch, weights: Weights, _: ObjectiveSettings, __: torch.Generator) -> Tensor:
    """The same on maps scaled to [0, 1], as the tracker uses them."""
    positive, negative = scale(maps_of(batch, weights)).unbind(1)
    return -((positive - negative) * target_map_s(batch.truth, batch.side)).sum(1).mean() / 10


def margin(batch: Batch, weights: Weights, settings: ObjectiveSettings, _: torch.Generator) -> Tensor:
    """Hinge: the mean inside the target should exceed the strongest peak well outside it by half the range."""
    values = prediction(batch, weights, settings.alpha).flatten(1)
    finer = batch.truth * (PREDICTION_SIDE / batch.side)
    inside = coverage(finer, PREDICTION_SIDE).flatten(1)
    outside = coverage(enlarged(finer, 1.4), PREDICTION_SIDE).flatten(1) == 0
    mean = (values * inside).sum(1) / inside.sum(1).clamp_min(1e-3)
    peak = (values * outside * 20).logsumexp(1) / 20
    return (0.5 + peak - mean).clamp_min(0).mean()


def squares(batch: Batch, weights: Weights, settings: ObjectiveSettings, _: torch.Generator) -> Tensor:
    """Squared difference between the prediction map and the area of the target."""
    area = coverage(batch.truth * (PREDICTION_SIDE / batch.side), PREDICTION_SIDE)
    return (prediction(batch, weights, settings.alpha) - area).square().mean()


Objective = Callable[[Batch, Weights, ObjectiveSettings, torch.Generator], Tensor]
OBJECTIVES: dict[str, Objective] = {
    "overlap": expected_overlap,
    "paper": paper,
    "paper-normalised": paper_normalised,
    "margin": margin,
    "squares": squares,
}
