"""A bounded memory of descriptions: what was seen last stays, what is like a stored one only makes that fresh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME = 0.95  # cosine from which two descriptions are one


class Gallery:
    """Descriptions are unit vectors (D,)."""

    def __init__(self, capacity: int, dimensions: int) -> None:
        self._stored = np.zeros((capacity, dimensions), np.float32)
        self._seen = np.zeros(capacity)  # when, counted in additions; infinite: stays
        self._count, self._now = 0, 0

    def likeness(self, described: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of each of (m, D) to the most similar stored one: (m,); -1 where none is stored."""
        if not self._count:
            return np.full(len(described), -1, np.float32)
        best: NDArray[np.float32] = (described @ self._stored[: self._count].T).max(axis=1)
        return best

    def add(self, description: NDArray[np.float32], stays: bool = False) -> None:
        """Store a description; that which was not seen for longest makes room."""
        self._now += 1
        if self._count:
            alike = self._stored[: self._count] @ description
            nearest = int(alike.argmax())
            if alike[nearest] > SAME:
                self._seen[nearest] = max(self._seen[nearest], self._now)
                return
        if self._count < len(self._stored):
            place, self._count = self._count, self._count + 1
        else:
            place = int(self._seen.argmin())
        self._stored[place] = description
        self._seen[place] = np.inf if stays else self._now
