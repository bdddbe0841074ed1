"""Gradients through an equilibrium by the implicit function theorem.

At rest ``p = f(p, θ)`` with ``f = Wφ(p) + u`` and ``J = ∂f/∂p = W D``. Differentiating,
``dp = J dp + ∂f/∂θ dθ``, so for an incoming gradient ``g = ∂L/∂p``

    λ = (I − J)⁻ᵀ g        (the adjoint equation)
    ∂L/∂θ = λᵀ ∂f/∂θ       (one ordinary backward pass through one evaluation of f)

:class:`ImplicitAdjoint` is the identity on ``f(p*, θ)`` and replaces ``g`` by ``λ`` on the way back; autograd does
the rest. Memory does not grow with the number of forward steps. Second derivatives are refused, because the
dependence of J on θ is not on the tape.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from equilog.equilibrium.anderson import anderson


class AdjointWarning(UserWarning):
    """The adjoint equation was not solved to tolerance: gradients of those samples are inexact."""


class ImplicitAdjoint(torch.autograd.Function):
    """Identity forward; backward solves the adjoint equation of every sample."""

    @staticmethod
    def forward(ctx, p: Tensor, weight: Tensor, slope: Tensor, inverse: Tensor, rtol: float) -> Tensor:  # type: ignore[no-untyped-def]
        """Return ``p`` unchanged, remembering the linearisation at rest."""
        ctx.save_for_backward(weight, slope, inverse)
        ctx.rtol = rtol
        return p.view_as(p)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        """Return ``λ = (I − WD)⁻ᵀ g``, to a tolerance relative to ``g`` of each sample.

        Raises:
            RuntimeError: under ``create_graph=True``. Autograd's own guard for functions that are differentiable once
                would only stop paths through λ and let the other terms of a second derivative through, silently wrong.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "second derivatives through an equilibrium are not available: call backward without create_graph=True"
            )
        weight, slope, inverse = ctx.saved_tensors
        return solve_adjoint(grad, weight, slope, inverse, ctx.rtol), None, None, None, None


def solve_adjoint(
    grad: Tensor, weight: Tensor, slope: Tensor, inverse: Tensor, rtol: float, *, max_steps: int = 60
) -> Tensor:
    """Solve ``λ − D Wᵀ λ = g`` for every sample.

    Args:
        grad: ``g``, shape ``(batch, n)``.
        weight: ``W``, shape ``(n, n)``.
        slope: ``D``, shape ``(batch, n)``.
        inverse: ``(I − W D̄)⁻¹`` from the forward solve, shape ``(n, n)``.
        rtol: accepted residual relative to ``‖g‖`` of the sample.
        max_steps: after which the remaining samples are solved directly.

    Warns:
        AdjointWarning: if a sample could be solved neither iteratively nor directly.
    """
    # Unit-norm right-hand sides: the answer must not depend on how large the loss happens to be.
    size = torch.linalg.vector_norm(grad, dim=1, keepdim=True)
    size = torch.where(size > 0, size, 1)
    g = grad / size

    def residual(lam: Tensor) -> Tensor:
        return g - lam + (lam @ weight) * slope

    limit = torch.full_like(size[:, 0], rtol)
    found = anderson(residual, lambda r: r @ inverse, g @ inverse, lambda _: limit, max_steps=max_steps, memory=6)
    lam = found.x
    left = ~found.converged
    if bool(left.any()):
        eye = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
        matrix = eye - slope[left][:, :, None] * weight.T
        direct, _ = torch.linalg.solve_ex(matrix, g[left][:, :, None])
        lam = lam.clone()
        lam[left] = direct[:, :, 0]
    # The right-hand side has unit norm: a solution beyond 1/√eps is cancellation, whatever its residual says.
    largest = torch.finfo(lam.dtype).eps ** -0.5
    bad = ~(torch.linalg.vector_norm(lam, dim=1) < largest)
    if bool(bad.any()):
        warnings.warn(
            f"the adjoint equation is singular, or its right-hand side not finite, for {int(bad.sum())} of {len(g)} "
            "samples: their gradients are meaningless",
            AdjointWarning,
            stacklevel=2,
        )
    return lam * size
