"""Rounding to a grid: converters and conductance levels, with a straight-through gradient.

A quantiser is flat almost everywhere, so its true gradient is zero and useless. :func:`round_through` rounds
forward and passes the gradient unchanged, as if nothing had been rounded (Bengio et al. 2013). That is a biased
estimate; gradcheck does not apply to it. Clipping keeps its true gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from equilog.hardware.technology.spec import Spec


def round_through(x: Tensor) -> Tensor:
    """Round to the nearest integer; the gradient is passed straight through."""
    return x + (x.round() - x).detach()


def convert(x: Tensor, bits: int, full_scale: float = 1.0) -> Tensor:
    """Return `x` as a symmetric converter of `bits` bits sees it.

    Codes run from ``−(2^(bits−1) − 1)`` to ``+(2^(bits−1) − 1)``, so zero is a code; values beyond ±full_scale clip.
    """
    converted: Tensor = _Convert.apply(x, 2 ** (bits - 1) - 1, full_scale)
    return converted


class _Convert(torch.autograd.Function):
    """Clip to ±full, round to multiples of full/top; the gradient passes where nothing clips. Few passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: int, full: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.full = full
        clipped = torch.clamp(x, -full, full)
        if full == 1:
            return clipped.mul_(top).round_().div_(top)
        return clipped.mul_(top / full).round_().mul_(full / top)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return inside(grad, x, ctx.full), None, None


def inside(slope: Tensor, x: Tensor, full_scale: float = 1.0) -> Tensor:
    """Return the slope where `x` is within ±full_scale, and zero where it clips; one fused pass."""
    # It would stop at the bounds themselves, where nothing clips yet: a hair more.
    bound = full_scale * (1 + 1e-6)
    found: Tensor = torch.ops.aten.hardtanh_backward(slope, x, -bound, bound)
    return found


def half_code(spec: Spec) -> float:
    """Return half a code of the ADCs, in units of the state."""
    top = 2 ** (int(spec.adc.bits) - 1) - 1
    return 0.5 * float(spec.adc.full_scale_volt / spec.activation.v_out_volt) / top


def to_levels(x: Tensor, low: float, high: float, levels: int) -> Tensor:
    """Return `x` rounded to `levels` equidistant values from `low` to `high`, clipped to that range."""
    step = (high - low) / (levels - 1)
    code = torch.clamp(x, low, high).sub(low).div_(step)
    code = round_through(code) if code.requires_grad else code.round_()
    return torch.mul(code, step).add_(low)
