"""What a population says: spread, an interval for a fraction, bins for a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Quantile 0.975 of the normal distribution.
Z_95 = 1.959963984540054
PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)


def wilson_interval(hits: int, of: int, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's score interval for a fraction, 95 % unless another `z` is given (JASA 22 (1927) 209).

    Raises:
        ValueError: unless ``0 ≤ hits ≤ of`` and there is something to divide by.
    """
    if not 0 <= hits <= of or of == 0:
        raise ValueError(f"{hits} of {of}: expected a part of at least one")
    p, square = hits / of, z * z
    centre = (p + square / (2 * of)) / (1 + square / of)
    half = z * math.sqrt(p * (1 - p) / of + square / (4 * of * of)) / (1 + square / of)
    # Exact at the ends, where rounding would leave 1e-17.
    return (0.0 if hits == 0 else max(0.0, centre - half)), (1.0 if hits == of else min(1.0, centre + half))


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of :data:`PERCENTILES`, interpolated linearly; 0 is the least, 100 the largest."""
    found = np.percentile(np.asarray(values, dtype=np.float64), PERCENTILES)
    return {str(p): float(v) for p, v in zip(PERCENTILES, found)}


def count_bins(counts: Sequence[int], edge: int, most: int) -> list[int]:
    """Return bin edges for whole numbers: each bin as wide as the others, one beginning exactly at `edge`.

    A histogram of accuracies needs this: they lie on a grid of 1/samples, and bins of another width show beats.

    Args:
        counts: at least one number; every one lies in ``[edges[0], edges[-1])``.
        edge: where a bin begins, within the range or not.
        most: bins wanted at most; one more is made where `edge` demands it.
    """
    low, high = min(counts), max(counts)
    width = max(1, math.ceil((high - low + 1) / most))
    start = low - (low - edge) % width
    return list(range(start, high + width + 1, width))


def even_bins(values: Sequence[float], most: int) -> NDArray[np.float64]:
    """Return the edges of bins of one width over all values; at most `most`, and fewer for few values."""
    data = np.asarray(values, dtype=np.float64)
    low, high = float(data.min()), float(data.max())
    if high - low <= 1e-9 * abs(high):
        low, high = low - 0.05 * abs(low), high + 0.05 * abs(high)
    return np.linspace(low, high, int(np.clip(2 * math.sqrt(len(data)), 1, most)) + 1)


def edge_bins(values: Sequence[float], edge: float, most: int) -> NDArray[np.float64]:
    """Return the edges of bins of one width over all values, one beginning exactly at `edge` if it lies among them.

    Args:
        values: at least one; every one lies in ``[edges[0], edges[-1])``.
        edge: where a bin begins.
        most: bins wanted at most; two more are made where `edge` demands it.
    """
    even = even_bins(values, most)
    low, high, width = min(values), max(values), float(even[1] - even[0]) or 1.0
    origin = edge if low <= edge <= high else low
    first, last = math.floor((low - origin) / width), math.floor((high - origin) / width) + 1
    # Rounding may have put the least or the largest value just outside.
    first -= origin + first * width > low
    last += origin + last * width <= high
    return np.asarray(origin + width * np.arange(first, last + 1), dtype=np.float64)


def tally(values: Sequence[float], edges: Sequence[float] | NDArray[Any]) -> list[int]:
    """Return how many values lie in each bin."""
    return [int(c) for c in np.histogram(np.asarray(values, dtype=np.float64), np.asarray(edges, dtype=np.float64))[0]]
