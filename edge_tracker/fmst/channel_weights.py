"""Channel weights: which channels the prediction map is made of (FMST paper, Eq. 5 and section 3.2.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def top_fraction(scores: NDArray[np.float32], fraction: float) -> NDArray[np.float32]:
    """Eq. 5: 1 for the channels with the top `fraction` (0, 1] of the scores (C,), 0 for the rest: (C,).

    At least one channel is selected. Of equal scores the lower channel comes first, so the result is reproducible. The
    weights of negative features (w_n) are made from the scores of the negative map, -s.
    """
    count = max(1, round(fraction * len(scores)))
    lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
    selected = scores >= lowest
    surplus = np.count_nonzero(selected) - count
    if surplus:
        selected[np.flatnonzero(scores == lowest)[-surplus:]] = False
    return selected.astype(np.float32)
