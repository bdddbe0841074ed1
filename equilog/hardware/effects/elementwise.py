"""An elementwise function that computes its slope beside its value: one node on the tape where autograd makes dozens.

What a chip does to a conductance, a drive or a state is a chain of elementwise steps. Autograd keeps the operands of
each and visits each again on the way back, which on small arrays costs more than the arithmetic. Such a chain is
written here as one function ``x ↦ (y, dy/dx)``; the way back is one product.

Both are ordinary tensor expressions of x. Under ``create_graph=True`` the slope is computed once more, on the tape, and
carries the second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Sloped = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]
"""``(x, wanted) -> (y, slope)``, the slope only if wanted; always the same y for the same x"""


def elementwise(f: Sloped, x: Tensor, *held: Tensor | None) -> Tensor:
    """Return ``y`` of ``f``, differentiable twice in x.

    Args:
        f: the function. y may have leading dimensions that x has not.
        x: its argument.
        held: other tensors in f. If one of them wants a gradient, f goes onto the tape operation by operation.
    """
    if x.requires_grad and torch.is_grad_enabled() and not any(t is not None and t.requires_grad for t in held):
        y: Tensor = _Elementwise.apply(x, f)
        return y
    return f(x, False)[0]


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Sloped) -> Tensor:
        y, slope = f(x, True)
        ctx.f = f
        ctx.save_for_backward(x, slope)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            slope = ctx.f(x, True)[1]
        return (grad * slope).sum_to_size(x.shape), None
