"""Wire resistance to first order in what it takes away: an approximation that every step of training can afford.

Were the wires ideal, a volt at every driver would send the current G through every device. In wires those currents
would make the drops

    a_ij = r_w Σ_k (min(j, k) + 1) G_ik      along word line i, from its driver,
    b_ij = r_b Σ_l (M − max(i, l)) G_lj      along bit line j, to its virtual ground,

for each volt (geometry of :mod:`equilog.hardware.wires`, M word lines counted from 0). To first order in r a device
then delivers ``G (1 − a − b)``; taken as resistance in series with it,

    G_eff ≈ G / (1 + a + b),

which also falls to zero, and not below, where wires are everything. What is left out is of second order: that drops
make currents and so drops smaller, and that bit lines lift each other through the word lines. The load of the virtual
grounds is what arrives there, without its small coupling from one to the next.

Exact is :func:`equilog.hardware.wires.loaded_conductance`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def first_order_conductance(g_siemens: Tensor, r_wordline_ohm: float, r_bitline_ohm: float) -> Tensor:
    """Return what the devices of pairs appear to conduct, to first order; differentiable twice in `g_siemens`.

    Args:
        g_siemens: ``G⁺`` and ``G⁻``, shape ``(…, 2, n, columns)``: word line 2k + s is column k of ``g[s]``, bit line i
            is neuron i.
        r_wordline_ohm: of every segment of word line.
        r_bitline_ohm: of every segment of bit line.

    Returns:
        the same shape.
    """
    found: Tensor = _FirstOrder.apply(g_siemens, float(r_wordline_ohm), float(r_bitline_ohm))
    return found


def drops(g: Tensor, r_w: float, r_b: float) -> Tensor:
    """Return ``a + b``, linear in the conductances and its own adjoint; shapes as for the conductances."""
    n = g.shape[-2]
    # Σ_k (min(j, k) + 1) g_k = Σ_{l ≤ j} Σ_{k ≥ l} g_k, by two running sums.
    until = g.cumsum(-2)
    place = torch.arange(1, n + 1, dtype=g.dtype, device=g.device)[:, None]
    word = torch.addcmul(until - until.cumsum(-2), place, until[..., -1:, :])
    # The same along bit lines, two word lines at a time: first the current below each, then the sum of what follows.
    plus, minus = g.unbind(-3)
    odd = (plus + minus).cumsum(-1)
    even = odd - minus
    both = odd + even
    running = both.cumsum(-1)
    first = both - running + running[..., -1:]
    bit = torch.stack([first, first - even], dim=-3)
    return torch.add(word * r_w, bit, alpha=r_b)


class _FirstOrder(torch.autograd.Function):
    """``T = G/(1 + a + b)``; its gradient is ``h − D(h T)`` with ``h = grad/(1 + a + b)`` and D the drops."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, r_w: float, r_b: float) -> Tensor:
        divisor = drops(g, r_w, r_b).add_(1.0)
        ctx.resistance = r_w, r_b
        ctx.save_for_backward(g, divisor)
        return g / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        g, divisor = ctx.saved_tensors
        if torch.is_grad_enabled():
            divisor = drops(g, *ctx.resistance) + 1.0
        share = grad / divisor
        return share - drops(share * g / divisor, *ctx.resistance), None, None
