"""A correlation filter with one denominator shared by all channels (MOSSE, Bolme et al. 2010; DSST, Danelljan et al.
2014), on the fine tap: places the target more exactly than the coarse grid can.

The Fourier transforms are matrix products: on grids this small BLAS is far quicker than NumPy's FFT.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=8)
def _matrices(n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Along x, real to half spectrum: (2 half, n), real parts then imaginary. Along y, complex: (2 n, 2 n)."""
    full = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
    half = full[: n // 2 + 1]
    along_x = np.concatenate([half.real, half.imag])
    along_y = np.block([[full.real, -full.imag], [full.imag, full.real]])
    return along_x.astype(np.float32), along_y.astype(np.float32)


def spectrum(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two-dimensional DFT of (n, n, D), half spectrum along x: (2, n, n // 2 + 1, D), real then imaginary."""
    n, _, depth = values.shape
    along_x, along_y = _matrices(n)
    rows = np.matmul(along_x, values).reshape(n, 2, -1).transpose(1, 0, 2).reshape(2 * n, -1)
    return (along_y @ rows).reshape(2, n, n // 2 + 1, depth)


@lru_cache(maxsize=8)
def _inverse(n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Along y, complex: (2 n, 2 n). Along x, half spectrum to real: (2 half, n)."""
    half = n // 2 + 1
    full = np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) / n
    along_y = np.block([[full.real, -full.imag], [full.imag, full.real]])
    twice = np.where((np.arange(half) == 0) | (2 * np.arange(half) == n), 1.0, 2.0)[:, None]  # the mirrored half
    along_x = np.concatenate([full[:half].real * twice, -full[:half].imag * twice])
    return along_y.astype(np.float32), along_x.astype(np.float32)


def inverse_spectrum(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half spectrum (2, n, n // 2 + 1), real then imaginary -> (n, n)."""
    n, half = values.shape[1:]
    along_y, along_x = _inverse(n)
    rows = (along_y @ values.reshape(2 * n, half)).reshape(2, n, half)
    return rows[0] @ along_x[:half] + rows[1] @ along_x[half:]


class CorrelationFilter:
    """Learns to answer a Gaussian at the target, wherever that lies in the grid. Positions are in cells."""

    def __init__(self, side: int, centre: tuple[float, float], ridge: float) -> None:
        """centre: (x, y) of the search in a grid of `side` cells, where the window that hides the edges peaks."""
        self.ridge = ridge
        self._frequencies = np.fft.fftfreq(side), np.arange(side // 2 + 1) / side
        hann = [np.cos(np.pi * np.clip((np.arange(side) - c) / side, -0.5, 0.5)) ** 2 for c in (centre[1], centre[0])]
        self._window = np.outer(*hann).astype(np.float32)[..., None]
        self._desired = np.zeros(0, np.complex64)
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
        self._desired = np.fft.rfft2(np.outer(line, line)).astype(np.complex64)
        self._numerator, self._denominator = self._moments(transformed, place)

    def respond(self, transformed: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much each cell looks like the target's centre: (side, side)."""
        real = np.einsum("yxd,yxd->yx", self._numerator[0], transformed[0])
        real -= np.einsum("yxd,yxd->yx", self._numerator[1], transformed[1])
        imaginary = np.einsum("yxd,yxd->yx", self._numerator[0], transformed[1])
        imaginary += np.einsum("yxd,yxd->yx", self._numerator[1], transformed[0])
        damped = self._denominator + np.float32(self.ridge) * self._denominator.mean()
        return inverse_spectrum(np.stack([real, imaginary]) / damped)

    def learn(self, transformed: NDArray[np.float32], place: tuple[float, float], rate: float) -> None:
        """Move by `rate` towards this frame, the target at `place` (x, y)."""
        numerator, denominator = self._moments(transformed, place)
        self._numerator *= np.float32(1 - rate)
        numerator *= np.float32(rate)
        self._numerator += numerator
        self._denominator += np.float32(rate) * (denominator - self._denominator)

    def _moments(
        self, x: NDArray[np.float32], place: tuple[float, float]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Numerator (2, n, half, D): desired response at `place` times conj(x). Denominator (n, half): |x|^2."""
        fy, fx = self._frequencies
        shift = np.outer(np.exp(-2j * np.pi * fy * place[1]), np.exp(-2j * np.pi * fx * place[0]))
        desired = (self._desired * shift).astype(np.complex64)[..., None]
        numerator = np.empty_like(x)
        numerator[0] = desired.real * x[0] + desired.imag * x[1]
        numerator[1] = desired.imag * x[0] - desired.real * x[1]
        denominator = np.einsum("kyxd,kyxd->yx", x, x)
        return numerator, denominator
