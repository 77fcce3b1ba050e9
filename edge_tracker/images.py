"""What an image is: uint8 (H, W, 3) BGR. Grayscale and BGRA are converted at the door, the rest refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_tracker.errors import ImageError


def as_bgr(image: object) -> NDArray[np.uint8]:
    """Return `image` as uint8 (H, W, 3) BGR; (H, W), (H, W, 1) and BGRA (H, W, 4) are converted.

    Raises ImageError for anything else: another type, another dtype, no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image is a NumPy array, not {type(image).__name__}")
    image = np.asarray(image)  # np.matrix has two dimensions and no more
    if image.dtype != np.uint8:
        raise ImageError(f"an image is uint8 with values 0-255, not {image.dtype}: scale and convert it first")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ImageError(f"an image has shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {image.shape}")
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return image[:, :, :3]


def size_of(image: NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) in pixels."""
    return image.shape[1], image.shape[0]
