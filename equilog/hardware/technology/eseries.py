"""Resistor values that are sold: the E series of IEC 60063, and the nearest of them.

E96 and E192 are ``10^(k/96)`` and ``10^(k/192)`` to three digits, but for 9.20, which the formula makes 9.19; E24 is a
table of its own. Most values of E24 are not in E96: 2.2 lies between its 2.15 and 2.21.
"""

from __future__ import annotations

import bisect
import math
from functools import cache
from typing import Literal

ESeries = Literal["E24", "E96", "E192"]

_E24 = (
    1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0,
    3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1,
)  # fmt: skip
MANTISSAS: dict[str, tuple[float, ...]] = {
    "E24": _E24,
    "E96": tuple(round(10 ** (k / 96), 2) for k in range(96)),
    "E192": tuple(9.2 if k == 185 else round(10 ** (k / 192), 2) for k in range(192)),
}
"""one decade of each series, rising from 1"""

_SLACK = 1e-9
"""A bound that is itself a value of the series counts as within, whatever its last digit."""


@cache
def values(series: ESeries, low_ohm: float, high_ohm: float) -> tuple[float, ...]:
    """Return all values of a series from `low_ohm` to `high_ohm`, rising; empty if there are none."""
    first, last = math.floor(math.log10(low_ohm)) - 1, math.ceil(math.log10(high_ohm)) + 1
    # Decimal strings, so that 4.99 kΩ is the double nearest to 4990 and not a product that misses it.
    every = (float(f"{m}e{decade}") for decade in range(first, last) for m in MANTISSAS[series])
    return tuple(v for v in every if low_ohm * (1 - _SLACK) <= v <= high_ohm * (1 + _SLACK))


def nearest(ohm: float, series: ESeries) -> float:
    """Return the value whose ratio to `ohm` is nearest to one."""
    around = values(series, ohm / 2, ohm * 2)
    return min(around, key=lambda v: abs(math.log(v / ohm)))


def at_least(ohm: float, series: ESeries) -> float:
    """Return the smallest value that is not below `ohm`."""
    around = values(series, ohm / 2, ohm * 2)
    return around[bisect.bisect_left(around, ohm * (1 - _SLACK))]
