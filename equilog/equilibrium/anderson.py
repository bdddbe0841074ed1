"""Anderson acceleration, per sample: the one loop under the forward and the adjoint solve.

Solves ``r(x) = 0`` for a batch, where ``step(x)`` is a preconditioned residual, from ``x ← x + step(x)``. With
``ΔX, ΔF`` the last few differences of iterates and steps, the accelerated update is
``x + f − (ΔX + ΔF) γ`` with ``γ = argmin ‖f − ΔF γ‖`` (Walker & Ni, SIAM J. Numer. Anal. 2011), a small
least-squares problem for every sample on its own. On a linear problem it equals GMRES until it is restarted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Iterates:
    """Where the loop stopped: iterate, residual norm and step count of every sample."""

    x: Tensor
    residual: Tensor
    steps: Tensor
    converged: Tensor


def anderson(
    residual: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    start: Tensor,
    threshold: Callable[[Tensor], Tensor],
    *,
    max_steps: int,
    memory: int,
) -> Iterates:
    """Iterate until every sample's own residual is below its own threshold.

    Args:
        residual: ``x (batch, n) -> r (batch, n)``.
        precondition: ``r -> step``; an approximate inverse of −∂r/∂x.
        start: first iterate, shape ``(batch, n)``.
        threshold: ``x -> (batch,)``, the 2-norm of the residual at which a sample is accepted.
        max_steps: residual evaluations allowed.
        memory: differences kept; 0 is the plain chord iteration.

    A sample that was accepted is frozen: what its neighbours still need does not move it.
    """
    x = start
    batch, n = x.shape
    d_x = x.new_zeros(batch, memory, n)
    d_f = x.new_zeros(batch, memory, n)
    steps = torch.full((batch,), max_steps, device=x.device)
    done = torch.zeros(batch, dtype=torch.bool, device=x.device)
    norm = x.new_full((batch,), torch.inf)
    best = norm
    x_last = f_last = None
    filled = 0
    for k in range(max_steps):
        r = residual(x)
        norm = torch.where(done, norm, torch.linalg.vector_norm(r, dim=1))
        newly = ~done & (norm <= threshold(x))
        steps = torch.where(newly, k, steps)
        done = done | newly
        if bool(done.all()) or k == max_steps - 1:
            break
        f = precondition(r)
        if x_last is not None and f_last is not None and memory:
            slot = (k - 1) % memory
            d_x[:, slot], d_f[:, slot] = x - x_last, f - f_last
            filled = min(filled + 1, memory)
        x_last, f_last = x, f
        update = x + f
        if filled:
            update = update - _mix(d_x[:, :filled], d_f[:, :filled], f)
            # A wild extrapolation is thrown away sample by sample: those take the plain chord step.
            wild = (norm > 100 * best) | ~torch.isfinite(update).all(1)
            update = torch.where(wild[:, None], x + f, update)
        best = torch.minimum(best, norm)
        x = torch.where(done[:, None], x, update)
    return Iterates(x, norm, steps, done)


def _mix(d_x: Tensor, d_f: Tensor, f: Tensor) -> Tensor:
    """Return ``(ΔX + ΔF) γ`` with γ from ridge-regularised normal equations, scale-free per sample."""
    gram = d_f @ d_f.transpose(1, 2)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)
    # Relative to the trace, so inputs of any size are treated alike; the floor only guards an all-zero Gram.
    ridge = trace * (10 * torch.finfo(f.dtype).eps) + torch.finfo(f.dtype).tiny
    gram = gram + torch.diag_embed(ridge[:, None].expand(-1, gram.shape[1]))
    right = d_f @ f[:, :, None]
    gamma, _ = torch.linalg.solve_ex(gram, right)
    return ((d_x + d_f).transpose(1, 2) @ gamma)[:, :, 0]
