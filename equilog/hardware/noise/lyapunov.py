"""The Lyapunov equation ``AΣ + ΣAᵀ + Q = 0`` for a batch of stable ``A``: its solution, and that solution's gradient.

A Cayley transform with any p > 0 turns it into ``Σ = EΣEᵀ + 2p MQMᵀ`` with ``M = (pI − A)⁻¹``, ``E = 2pM − I``, whose
Neumann series is summed by doubling (R. A. Smith, SIAM J. Appl. Math. 16 (1968) 198):

    Σ ← Σ + E Σ Eᵀ,    E ← E E

Sums of positive terms only, three matrix products a step, all samples at once. E vanishes if and only if A is stable,
whatever its size on the way: the same steps are a stability test.
"""

from __future__ import annotations

from typing import Any

import torch
from scipy.linalg import solve_continuous_lyapunov
from torch import Tensor

METHODS = ("doubling", "schur")

MOST_DOUBLINGS = 60
"""2⁶⁰ terms: a pole that has not died out by then lies within rounding of the imaginary axis."""


def lyapunov(a: Tensor, q: Tensor, method: str = "doubling") -> tuple[Tensor, Tensor]:
    """Solve ``AΣ + ΣAᵀ + Q = 0`` for symmetric Q.

    Differentiable in both to any order, by adjoint Lyapunov equations: with ``AᵀΛ + ΛA + G = 0`` for an incoming
    symmetric gradient G, Q receives Λ and A receives 2ΛΣ.

    Args:
        a: shape ``(batch, n, n)``, float64.
        q: symmetric, same shape.
        method: ``"doubling"``, or ``"schur"`` for Bartels & Stewart, Comm. ACM 15 (1972) 820, through SciPy: slower,
            and independent.

    Returns:
        Σ, same shape, and whether each A is stable, shape ``(batch,)``; where it is not, Σ means nothing.
    """
    solution, stable = _Lyapunov.apply(a, q, method)
    return solution, stable


class _Lyapunov(torch.autograd.Function):
    """(A, Q) ↦ Σ; the backward pass is one more equation, itself on the tape."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, q: Tensor, method: str) -> tuple[Tensor, Tensor]:
        solution, stable = (_doubling if method == "doubling" else _schur)(a, q)
        solution = (solution + solution.mT) / 2
        ctx.method = method
        ctx.save_for_backward(a, solution)
        ctx.mark_non_differentiable(stable)
        return solution, stable

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
        a, solution = ctx.saved_tensors
        adjoint, _ = lyapunov(a.mT, (g + g.mT) / 2, ctx.method)
        return 2 * adjoint @ solution, adjoint, None


def _doubling(a: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    # The geometric mean of all poles: in the middle of slow integrators and fast amplifiers, and free of units.
    p = torch.exp(torch.linalg.slogdet(a)[1] / a.shape[-1])[:, None, None]
    inverse = torch.linalg.inv_ex(p * eye - a)[0]
    e = 2 * p * inverse - eye
    x = 2 * p * (inverse @ q @ inverse.mT)
    stable = torch.zeros(len(a), dtype=torch.bool, device=a.device)
    for _ in range(MOST_DOUBLINGS):
        size = e.abs().sum(-1).amax(-1)
        stable = stable | (size < 1e-9)  # what is still missing is its square
        if bool((stable | ~(size < 1e18)).all()):
            break
        x = x + e @ x @ e.mT
        e = e @ e
    return x, stable


def _schur(a: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    stable = torch.linalg.eigvals(a).real.amax(-1) < 0
    x = torch.full_like(a, torch.nan)
    for k in stable.nonzero()[:, 0].tolist():
        x[k] = torch.from_numpy(solve_continuous_lyapunov(a[k].cpu().numpy(), -q[k].cpu().numpy())).to(a)
    return x, stable


def relative_residual(a: Tensor, q: Tensor, solution: Tensor) -> Tensor:
    """Return ``‖AΣ + ΣAᵀ + Q‖/‖Q‖`` in the Frobenius norm, shape ``(batch,)``."""
    product = a @ solution
    return torch.linalg.matrix_norm(product + product.mT + q) / torch.linalg.matrix_norm(q)
