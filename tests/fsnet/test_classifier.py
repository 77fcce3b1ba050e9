"""The classifier's forward and backward pass and its step of SGD against torch."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tracker.fsnet.classifier import CHUNK, Layers, Sgd, descend, gaussian_layers, gradients, scores, still
from edge_tracker.fsnet.network import dropout_masks

torch = pytest.importorskip("torch")


def torch_loss(layers: Layers, rows: np.ndarray, labels: np.ndarray, masks: tuple[np.ndarray, np.ndarray] | None):
    leaves = [torch.tensor(part, requires_grad=True) for part in layers]
    w4, b4, w5, b5, w6, b6 = leaves
    hidden = torch.relu(torch.from_numpy(rows) @ w4 + b4)
    if masks is not None:
        hidden = hidden * torch.from_numpy(masks[0])
    hidden = torch.relu(hidden @ w5 + b5)
    if masks is not None:
        hidden = hidden * torch.from_numpy(masks[1])
    return torch.nn.functional.cross_entropy(hidden @ w6 + b6, torch.from_numpy(labels)), leaves


@pytest.fixture
def problem() -> tuple[Layers, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    layers = gaussian_layers(90, 32, random)
    layers = Layers(*(part + 0.1 * random.standard_normal(part.shape, dtype=np.float32) for part in layers))
    return layers, random.standard_normal((24, 90), dtype=np.float32), np.repeat([1, 0], [8, 16])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_backward_pass_is_torchs(problem: tuple[Layers, np.ndarray, np.ndarray], dropout: float) -> None:
    layers, rows, labels = problem
    masks = dropout_masks(np.random.default_rng(1), len(rows), 32, dropout)
    loss, found = gradients(layers, rows, labels, masks)
    expected, leaves = torch_loss(layers, rows, labels, masks)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    for part, leaf in zip(found, leaves, strict=True):
        assert part.shape == tuple(leaf.shape)
        np.testing.assert_allclose(part, leaf.grad.numpy(), atol=1e-5)
        assert np.abs(part).max() > 1e-4


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    masks = dropout_masks(np.random.default_rng(0), 400, 64, 0.25)
    assert masks is not None
    for mask in masks:
        assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.75)}
        assert (mask == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert not np.array_equal(*masks)


def test_sgd_is_torchs(problem: tuple[Layers, np.ndarray, np.ndarray]) -> None:
    layers, rows, labels = problem
    _, leaves = torch_loss(layers, rows, labels, None)
    optimiser = torch.optim.SGD(leaves, lr=0.02, momentum=0.9, weight_decay=0.05)
    mine, velocity = Layers(*(part.copy() for part in layers)), still(layers)
    for _ in range(5):
        optimiser.zero_grad()
        w4, b4, w5, b5, w6, b6 = leaves
        hidden = torch.relu(torch.relu(torch.from_numpy(rows) @ w4 + b4) @ w5 + b5)
        torch.nn.functional.cross_entropy(hidden @ w6 + b6, torch.from_numpy(labels)).backward()
        optimiser.step()
        descend(mine, velocity, gradients(mine, rows, labels)[1], 0.02, Sgd(0.9, 0.05))
    for part, leaf, before in zip(mine, leaves, layers, strict=True):
        np.testing.assert_allclose(part, leaf.detach().numpy(), atol=1e-5)
        assert not np.allclose(part, before, atol=1e-4)


def test_a_step_reaches_weights_of_every_chunk() -> None:
    """A layer of more numbers than a step changes at once; the last chunk is not full."""
    shape = (CHUNK // 64 * 2 + 3, 64)
    random = np.random.default_rng(0)
    weights, speed, change = (random.standard_normal(shape, dtype=np.float32) for _ in range(3))
    layers, velocity, gradient = (
        Layers(part.copy(), *(np.zeros(1, np.float32) for _ in range(5))) for part in (weights, speed, change)
    )
    descend(layers, velocity, gradient, 0.1, Sgd(0.9, 0.01))
    moved = 0.9 * speed - 0.1 * (change + 0.01 * weights)
    np.testing.assert_allclose(velocity.w4, moved, atol=1e-6)
    np.testing.assert_allclose(layers.w4, weights + moved, atol=1e-6)


def test_no_gradient_is_a_denormal_number(problem: tuple[Layers, np.ndarray, np.ndarray]) -> None:
    """With them BLAS takes three times as long."""
    layers, rows, labels = problem
    layers = layers._replace(b6=np.array([90, 0], np.float32))  # background by a wide margin
    _, found = gradients(layers, np.concatenate([rows[:1], 1e-3 * rows[8:]]), labels[7:])
    for part in found:
        size = np.abs(part[part != 0])
        assert len(size)
        assert size.min() > np.finfo(np.float32).tiny


def test_it_learns_to_tell_target_from_background(problem: tuple[Layers, np.ndarray, np.ndarray]) -> None:
    layers, rows, labels = problem
    velocity = still(layers)
    first = gradients(layers, rows, labels)[0]
    for _ in range(40):
        descend(layers, velocity, gradients(layers, rows, labels)[1], 0.02, Sgd())
    assert gradients(layers, rows, labels)[0] < 0.05 < first
    found = scores(layers, rows)
    assert found[labels == 1].min() > 0 > found[labels == 0].max()
