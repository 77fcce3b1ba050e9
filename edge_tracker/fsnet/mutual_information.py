"""Which feature maps to keep: those that share little information with any other (III-D)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 20  # of the histogram of a map
LIKELY = 1.2  # times as many maps as are kept are compared with all others at once
CHUNK_MAPS = 32  # compared at once, so that their histograms stay in the cache


def histogram_bins(maps: NDArray[np.float32], bins: int = BINS) -> NDArray[np.intp]:
    """The bin, 0 to bins - 1, of every value of maps (n, C) -> (C, n); each map's bins span its own values evenly."""
    low, high = maps.min(axis=0), maps.max(axis=0)
    span = np.where(high > low, high - low, 1)
    return np.minimum((maps - low) / span * bins, bins - 1).astype(np.intp).T


def mutual_information(maps: NDArray[np.float32], bins: int = BINS) -> NDArray[np.float64]:
    """Of all pairs of maps (n, C), in nats -> (C, C), symmetric, 0 on the diagonal (Fig. 4).

    From joint histograms of bins x bins: I = H(X) + H(Y) - H(X, Y), entropies of the shares that fall into each bin.
    """
    binned = histogram_bins(maps, bins)
    entropy = _entropies(binned, bins)
    count = len(binned)
    found = np.zeros((count, count))
    for first in range(0, count, CHUNK_MAPS):
        chunk = slice(first, min(first + CHUNK_MAPS, count))
        joint = _joint_entropies(binned, np.arange(chunk.stop), chunk, bins)
        found[: chunk.stop, chunk] = entropy[: chunk.stop, None] + entropy[chunk] - joint
    found = np.maximum(np.triu(found, 1), 0)  # rounding can bring independent maps below 0
    return found + found.T


def usable_maps(maps: NDArray[np.float32]) -> NDArray[np.intp]:
    """The maps of (n, C) that say something: not all zero, nor of one value, which shares nothing with any other."""
    return np.flatnonzero(maps.max(axis=0) > maps.min(axis=0))


def least_shared(maps: NDArray[np.float32], count: int, bins: int = BINS) -> NDArray[np.intp]:
    """The `count` maps of (n, C) whose largest mutual information with any other is smallest, in their own order.

    The same maps as from the whole matrix of `mutual_information`, but no more of it is computed than decides. What
    shares most shares it with a map of high entropy, so all are first compared with a few of these. Somewhat
    more than `count`, those that shared least, are then compared with all maps: what the last of the best `count` of
    them shares is a bound, and of the others each is out once it shares more than that with any map.
    """
    usable = usable_maps(maps)
    if len(usable) <= count:
        return usable
    binned = histogram_bins(maps[:, usable], bins)
    entropy = _entropies(binned, bins)
    order = np.argsort(entropy, kind="stable")
    binned, entropy = binned[order], entropy[order]
    largest = np.zeros(len(binned))

    def compare(rows: NDArray[np.intp], chunk: slice) -> None:
        shared = entropy[rows, None] + entropy[chunk] - _joint_entropies(binned, rows, chunk, bins)
        shared[rows[:, None] == np.arange(chunk.start, chunk.stop)] = 0
        largest[rows] = np.maximum(largest[rows], shared.max(axis=1))
        largest[chunk] = np.maximum(largest[chunk], shared.max(axis=0, initial=0))

    *chunks, highest = [slice(k, min(k + CHUNK_MAPS, len(binned))) for k in range(0, len(binned), CHUNK_MAPS)]
    compare(np.arange(len(binned)), highest)
    order_so_far = np.argsort(largest, kind="stable")
    likely, others = np.split(order_so_far, [round(LIKELY * count)])
    for chunk in chunks:
        compare(likely, chunk)
    bound = np.sort(largest[likely])[count - 1]
    for chunk in reversed(chunks):
        compare(others[largest[others] <= bound], chunk)
    ranked = np.empty(len(binned))
    ranked[order] = largest
    return np.sort(usable[np.argsort(ranked, kind="stable")[:count]])


def _n_log_n(n: int) -> NDArray[np.float64]:
    counts = np.arange(n + 1, dtype=np.float64)
    return np.asarray(counts * np.log(np.maximum(counts, 1)))


def _entropies(binned: NDArray[np.intp], bins: int) -> NDArray[np.float64]:
    """Of each map, in nats: (C,)."""
    count, n = binned.shape
    counts = np.bincount((binned + bins * np.arange(count)[:, None]).ravel(), minlength=count * bins)
    return np.log(n) - _n_log_n(n)[counts].reshape(count, bins).sum(axis=1) / n


def _joint_entropies(binned: NDArray[np.intp], rows: NDArray[np.intp], chunk: slice, bins: int) -> NDArray[np.float64]:
    """Of the pairs of each of the maps `rows` with each of a run of maps, in nats: (rows, chunk)."""
    n = binned.shape[1]
    terms = _n_log_n(n)
    others = binned[chunk]
    size = len(others)
    codes = others + bins * bins * np.arange(size)[:, None]
    buffer = np.empty_like(codes)
    found = np.empty((len(rows), size))
    for k, row in enumerate(rows):
        np.add(codes, bins * binned[row], out=buffer)
        counts = np.bincount(buffer.ravel(), minlength=size * bins * bins)
        found[k] = terms.take(counts).reshape(size, -1).sum(axis=1)
    return np.log(n) - found / n
