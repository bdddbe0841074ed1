"""Rounding to a grid: converters and conductance levels, with a straight-through gradient.

A quantiser is flat almost everywhere, so its true gradient is zero and useless. :func:`round_through` rounds
forward and passes the gradient unchanged, as if nothing had been rounded (Bengio et al. 2013). That is a biased
estimate; gradcheck does not apply to it. Clipping keeps its true gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


def round_through(x: Tensor) -> Tensor:
    """Round to the nearest integer; the gradient is passed straight through."""
    return x + (x.round() - x).detach()


def convert(x: Tensor, bits: int) -> Tensor:
    """Return `x`, in units of full scale, as a symmetric converter of `bits` bits sees it.

    Codes run from ``−(2^(bits−1) − 1)`` to ``+(2^(bits−1) − 1)``, so zero is a code; values beyond ±1 clip.
    """
    top = 2 ** (bits - 1) - 1
    return round_through(torch.clamp(x, -1, 1) * top) / top


def to_levels(x: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Return `x` rounded to `levels` equidistant values from `low` to `high`, clipped to that range."""
    step = (high - low) / (levels - 1)
    return low + round_through((torch.clamp(x, low, high) - low) / step) * step
