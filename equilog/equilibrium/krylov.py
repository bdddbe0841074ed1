"""Restarted GMRES for a batch of linear systems, one Krylov space a sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gmres(product: Callable[[Tensor], Tensor], b: Tensor, rtol: Tensor, memory: int, restarts: int) -> Tensor:
    """Solve ``A x = b`` per sample (Saad & Schultz 1986, modified Gram–Schmidt by two classical passes).

    Args:
        product: ``v -> A v`` for ``v (batch, n)``.
        b: right-hand sides, shape ``(batch, n)``.
        rtol: accepted residual relative to ``‖b‖``, shape ``(batch,)``.
        memory: Krylov vectors before a restart.
        restarts: cycles at most.

    Returns:
        x, the best found; whether it is good enough is for the caller to judge.
    """
    x = torch.zeros_like(b)
    target = rtol * torch.linalg.vector_norm(b, dim=1)
    memory = min(memory, b.shape[1])
    for cycle in range(restarts):
        r = b if cycle == 0 else b - product(x)
        beta = torch.linalg.vector_norm(r, dim=1)
        open_ = beta > target
        if not bool(open_.any()):
            break
        x = torch.where(open_[:, None], x + _cycle(product, r, beta, target, memory), x)
    return x


def _cycle(product: Callable[[Tensor], Tensor], r: Tensor, beta: Tensor, target: Tensor, memory: int) -> Tensor:
    batch, n = r.shape
    basis = r.new_zeros(memory + 1, batch, n)
    h = r.new_zeros(batch, memory + 1, memory)
    basis[0] = r / torch.where(beta > 0, beta, 1)[:, None]
    right = r.new_zeros(batch, memory + 1)
    right[:, 0] = beta
    y = r.new_zeros(batch, memory)
    done = beta <= target
    for j in range(memory):
        w = product(basis[j])
        for _ in range(2):  # twice is enough (Giraud & Langou)
            inner = torch.linalg.vecdot(basis[: j + 1], w)
            w = w - (inner[:, :, None] * basis[: j + 1]).sum(0)
            h[:, : j + 1, j] += inner.mT
        length = torch.linalg.vector_norm(w, dim=1)
        h[:, j + 1, j] = length
        # An exhausted Krylov space holds the solution: no new direction for that sample.
        basis[j + 1] = w / torch.where(length > 0, length, torch.inf)[:, None]
        new = _least_squares(h[:, : j + 2, : j + 1], right[:, : j + 2])
        left = right[:, : j + 2] - (h[:, : j + 2, : j + 1] @ new[:, :, None])[:, :, 0]
        # A sample keeps the weights with which it was done: its neighbours' longer bases do not touch it.
        y[:, : j + 1] = torch.where(done[:, None], y[:, : j + 1], new)
        done = done | (torch.linalg.vector_norm(left, dim=1) <= target)
        if bool(done.all()):
            break
    return (y.mT[:, :, None] * basis[:memory]).sum(0)


def _least_squares(h: Tensor, right: Tensor) -> Tensor:
    """Minimise ``‖right − H y‖`` by QR; columns that add nothing get weight 0."""
    q, upper = torch.linalg.qr(h)
    diagonal = upper.diagonal(dim1=1, dim2=2)
    floor = diagonal.abs().amax(1, keepdim=True) * torch.finfo(h.dtype).eps
    dead = diagonal.abs() <= floor
    upper = torch.where(dead[:, None, :] & torch.eye(upper.shape[1], dtype=torch.bool, device=h.device), 1.0, upper)
    y = torch.linalg.solve_triangular(upper, q.mT @ right[:, :, None], upper=True)[:, :, 0]
    return torch.where(dead, 0, y).nan_to_num(0.0, 0.0, 0.0)
