"""A correlation filter with one denominator shared by all channels (MOSSE, Bolme et al. 2010; DSST, Danelljan et al.
2014), on the fine tap: places the target more exactly than the coarse grid can.

The Fourier transforms are matrix products: on grids this small BLAS is far quicker than NumPy's FFT. Spectra are laid
out (ky, real and imaginary, kx, channel), ky from 0 to half, so that no product needs its factors in another order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=8)
def _forward(n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Along y, real to half spectrum: (2 half, n), real and imaginary parts in turn. Along x, complex: (2 n, 2 n)."""
    full = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
    half = full[: n // 2 + 1]
    along_y = np.stack([half.real, half.imag], axis=1).reshape(-1, n)
    along_x = np.block([[full.real, -full.imag], [full.imag, full.real]])
    return along_y.astype(np.float32), along_x.astype(np.float32)


def spectrum(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two-dimensional DFT of (n, n, D): (half, 2, n, D)."""
    n, _, depth = values.shape
    along_y, along_x = _forward(n)
    rows = (along_y @ values.reshape(n, -1)).reshape(-1, 2 * n, depth)
    return np.matmul(along_x, rows).reshape(-1, 2, n, depth)


def inverse(n: int, up: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Half spectrum to real, and interpolation by `up` (points, n) along each axis in one. Along x, complex, to be
    multiplied from the right: (2 n, 2 points). Along y: (points, 2 half)."""
    half = n // 2 + 1
    full = np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) / n
    across, down = full @ up.T, up @ full[:, :half]
    along_x = np.block([[across.real, across.imag], [-across.imag, across.real]])
    twice = np.where((np.arange(half) == 0) | (2 * np.arange(half) == n), 1.0, 2.0)  # the mirrored half
    along_y = np.stack([down.real * twice, -down.imag * twice], axis=2).reshape(len(up), -1)
    return along_x.astype(np.float32), along_y.astype(np.float32)


class CorrelationFilter:
    """Learns to answer a Gaussian at the target, wherever that lies in the grid. Positions are in cells."""

    def __init__(
        self, side: int, centre: tuple[float, float], ridge: float, up: NDArray[np.float32] | None = None
    ) -> None:
        """centre: (x, y) of the search in a grid of `side` cells, where the window that hides the edges peaks.

        up (points, side): interpolation of the response along each axis; None: at the cells.
        """
        self.ridge = ridge
        self._frequencies = np.arange(side // 2 + 1) / side, np.fft.fftfreq(side)
        hann = [np.cos(np.pi * np.clip((np.arange(side) - c) / side, -0.5, 0.5)) ** 2 for c in (centre[1], centre[0])]
        self._window = np.outer(*hann).astype(np.float32)[..., None]
        self._along_x, self._along_y = inverse(side, np.eye(side, dtype=np.float32) if up is None else up)
        self._desired = np.zeros((0, 0), np.complex64)
        self._numerator = np.zeros(0, np.float32)
        self._denominator = np.zeros(0, np.float32)
        self._side = side

    def transform(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Spectrum of the windowed features (side, side, D)."""
        return spectrum(features * self._window)

    def start(self, transformed: NDArray[np.float32], place: tuple[float, float], sigma: float) -> None:
        """Learn frame 1: `transformed` from `transform`, the target at `place` (x, y), a Gaussian of `sigma` cells."""
        offsets = np.fft.fftfreq(self._side, 1 / self._side)  # 0, 1, ..., -2, -1
        line = np.exp(-0.5 * (offsets / sigma) ** 2)
        self._desired = np.outer(np.fft.rfft(line), np.fft.fft(line)).astype(np.complex64)
        self._numerator, self._denominator = self._moments(transformed, place, 1.0)

    def respond(self, transformed: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much each point looks like the target's centre: (points, points)."""
        answer = np.empty(transformed.shape[:-1], np.float32)  # (half, 2, n)
        straight = np.einsum("ykxd,ykxd->kyx", self._numerator, transformed)
        crossed = np.einsum("ykxd,ykxd->kyx", self._numerator, transformed[:, ::-1])
        np.subtract(straight[0], straight[1], out=answer[:, 0])
        np.add(crossed[0], crossed[1], out=answer[:, 1])
        damped = self._denominator + np.float32(self.ridge) * self._denominator.mean()
        answer /= damped[:, None]
        rows = answer.reshape(len(answer), -1) @ self._along_x
        return self._along_y @ rows.reshape(self._along_y.shape[1], -1)

    def learn(self, transformed: NDArray[np.float32], place: tuple[float, float], rate: float) -> None:
        """Move by `rate` towards this frame, the target at `place` (x, y)."""
        numerator, denominator = self._moments(transformed, place, rate)
        self._numerator *= np.float32(1 - rate)
        self._numerator += numerator
        self._denominator *= np.float32(1 - rate)
        self._denominator += denominator

    def _moments(
        self, x: NDArray[np.float32], place: tuple[float, float], share: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Numerator (half, 2, n, D): desired response at `place` times conj(x). Denominator (half, n): |x|^2. Both
        times `share`."""
        fy, fx = self._frequencies
        shift = np.outer(np.exp(-2j * np.pi * fy * place[1]), np.exp(-2j * np.pi * fx * place[0]))
        desired = (share * self._desired * shift).astype(np.complex64)[:, None, :, None]
        numerator = desired.imag * x[:, ::-1]
        along = desired.real * x
        numerator[:, 0] += along[:, 0]
        numerator[:, 1] -= along[:, 1]
        return numerator, np.float32(share) * np.einsum("ykxd,ykxd->yx", x, x)
