"""Channel weights in closed form: ridge regression of a target map on each cell's neighbourhood.

Where FMST scores channels one by one and takes the best, this solves for all of them at once, and sees the cells around
each cell: min_w sum_i (x_i . w - m_i)^2 + ridge |w|^2 over the cells i of all frames seen, old ones fading.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

KERNEL = 3  # cells; 1 loses 16 points of success, 5 brings nothing
NEIGHBOURS = tuple(product(range(KERNEL), repeat=2))


def neighbourhoods(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each cell with its eight neighbours, zero beyond the grid, and a constant: (n, n, D) -> (n n, 9 D + 1)."""
    n, _, depth = features.shape
    padded = np.zeros((n + 2, n + 2, depth), np.float32)
    padded[1:-1, 1:-1] = features
    rows = np.empty((n, n, KERNEL * KERNEL * depth + 1), np.float32)
    for place, (i, j) in enumerate(NEIGHBOURS):
        rows[:, :, place * depth : (place + 1) * depth] = padded[i : i + n, j : j + n]
    rows[:, :, -1] = 1
    return rows.reshape(n * n, -1)


def laid(up: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolation `up` (points, n) of the shares of the neighbour before, the cell itself and the one behind:
    (points, 3 n)."""
    n = up.shape[1]
    padded = np.pad(up, ((0, 0), (1, 1)))  # beyond the grid there is nothing
    # The share of neighbour i of cell c is that of the features of cell c + i - 1.
    return np.concatenate([padded[:, 2 - i : 2 - i + n] for i in range(KERNEL)], axis=1)


class RidgeFilter:
    """Weights w of a linear filter on neighbourhoods, with the moments they are solved from.

    ridge: of the mean diagonal of A. anchor: share of frame 1 in what is solved, however long ago that was.
    steps: conjugate-gradient steps per solution, from the last one.
    """

    def __init__(self, ridge: float, anchor: float, steps: int) -> None:
        self.ridge, self.anchor, self.steps = ridge, anchor, steps
        self.weights = np.zeros(0, np.float32)
        # Moments of all frames: (1 - anchor) of the fading ones, and `anchor` of frame 1's, which are kept apart too.
        self._a = self._a_anchored = self._scratch = np.zeros((0, 0), np.float32)
        self._b = self._b_anchored = np.zeros(0, np.float32)
        self._trace = 0.0  # of the fading ones

    def start(self, samples: list[tuple[NDArray[np.float32], NDArray[np.float32], float]]) -> None:
        """Learn frame 1, exactly, from (neighbourhoods (cells, K), target (cells,), weight) of its views."""
        total = sum(weight for _, _, weight in samples)
        size = samples[0][0].shape[1]
        a, b = np.zeros((size, size), np.float32), np.zeros(size, np.float32)
        for rows, target, weight in samples:
            a += np.float32(weight / total) * (rows.T @ rows)
            b += np.float32(weight / total) * (target @ rows)
        self._a, self._b, self._scratch = a, b, np.empty_like(a)
        self._a_anchored, self._b_anchored = np.float32(self.anchor) * a, np.float32(self.anchor) * b
        self._trace = float(np.trace(a))
        damped = a + self._damping() * np.eye(size, dtype=np.float32)
        self.weights = np.linalg.solve(damped.astype(np.float64), b).astype(np.float32)

    def respond(self, features: NDArray[np.float32], up: NDArray[np.float32]) -> NDArray[np.float32]:
        """features (n, n, D) -> response (points, points), interpolated along each axis by `up`, `laid` of rows that
        sum to 1: the shares of all neighbours, each laid where it belongs by the interpolation itself."""
        n, _, depth = features.shape
        shares = self.weights[:-1].reshape(len(NEIGHBOURS), depth) @ features.reshape(-1, depth).T
        shares = shares.reshape(KERNEL, KERNEL, n, n).transpose(0, 2, 1, 3).reshape(KERNEL * n, KERNEL * n)
        response: NDArray[np.float32] = up @ shares @ up.T
        response += self.weights[-1]
        return response

    def learn(
        self,
        rows: NDArray[np.float32],
        target: NDArray[np.float32],
        rate: float,
    ) -> None:
        """Move the moments by `rate` towards this frame's. The weights follow with `solve`."""
        self._trace += rate * (float(np.vdot(rows, rows)) - self._trace)
        kept, first, new = np.float32(1 - rate), np.float32(rate), np.float32(rate * (1 - self.anchor))
        self._b = kept * self._b + first * self._b_anchored + new * (target @ rows)
        self._a *= kept
        self._a += np.multiply(self._a_anchored, first, out=self._scratch)
        rows = rows * np.sqrt(new)
        self._a += np.matmul(rows.T, rows, out=self._scratch)

    def _damping(self) -> np.float32:
        return np.float32(self.ridge * self._trace / len(self._a))

    def solve(self) -> None:
        """A few steps of conjugate gradients on ((1 - anchor) A + anchor A_1 + damping) w = b, from the last w."""
        a, damping, x = self._a, self._damping(), self.weights
        residual: NDArray[np.float32] = self._b - a @ x - damping * x
        direction: NDArray[np.float32] = residual
        square = float(residual @ residual)
        for _ in range(self.steps):
            if square < 1e-10:
                break
            moved: NDArray[np.float32] = a @ direction + damping * direction
            step = np.float32(square / (float(direction @ moved) + 1e-12))
            x = x + step * direction
            residual = residual - step * moved
            before, square = square, float(residual @ residual)
            direction = residual + np.float32(square / before) * direction
        self.weights = x
