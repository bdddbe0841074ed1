"""Rounding to a grid: converters and conductance levels, with a straight-through gradient.

A quantiser is flat almost everywhere, so its true gradient is zero and useless. :func:`round_through` rounds
forward and passes the gradient unchanged, as if nothing had been rounded (Bengio et al. 2013). That is a biased
estimate; gradcheck does not apply to it. Clipping keeps its true gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def round_through(x: Tensor) -> Tensor:
    """Round to the nearest integer; the gradient is passed straight through."""
    return x + (x.round() - x).detach()


def convert(x: Tensor, bits: int) -> Tensor:
    """Return `x`, in units of full scale, as a symmetric converter of `bits` bits sees it.

    Codes run from ``−(2^(bits−1) − 1)`` to ``+(2^(bits−1) − 1)``, so zero is a code; values beyond ±1 clip.
    """
    converted: Tensor = _Convert.apply(x, 2 ** (bits - 1) - 1)
    return converted


class _Convert(torch.autograd.Function):
    """Clip to ±1, round to multiples of 1/top; the gradient passes where nothing clips. Five passes instead of ten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: int) -> Tensor:
        ctx.save_for_backward(x)
        return torch.clamp(x, -1, 1).mul_(top).round_().div_(top)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1, grad, 0.0), None


def to_levels(x: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Return `x` rounded to `levels` equidistant values from `low` to `high`, clipped to that range."""
    step = (high - low) / (levels - 1)
    return low + round_through((torch.clamp(x, low, high) - low) / step) * step
