"""Newton's method: every sample with its own Jacobian, exactly for small n, by Krylov iteration for large n."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.equilibrium.krylov import gmres
from equilog.equilibrium.problem import Map, Problem
from equilog.equilibrium.solvers.base import Solver


@dataclass(frozen=True)
class Newton(Solver):
    """``x ← x + s (I − J)⁻¹ f`` with J of each sample, s halved until its residual falls.

    Costs ``2/3 n³`` a sample and step, and robust in return: the last resort of ``auto`` for small n. At a fold, where
    ``I − J`` is singular, the residual itself is searched along.
    """

    max_steps: int = 50

    name: ClassVar[str] = "newton"
    checks_every_step: ClassVar[bool] = True

    def step(self, problem: Map, x: Tensor, fx: Tensor, memory: Any) -> Tensor:
        """Return the damped Newton iterate."""
        assert isinstance(problem, Problem)
        f = fx - x
        delta = self._direction(problem, x, f)
        delta = torch.where(torch.isfinite(delta).all(1, keepdim=True), delta, f)
        return backtrack(problem, x, f, delta)

    def _direction(self, problem: Problem, x: Tensor, f: Tensor) -> Tensor:
        matrix = -problem.jacobian(x)
        matrix.diagonal(dim1=1, dim2=2).add_(1)
        delta, _ = torch.linalg.solve_ex(matrix, f[:, :, None])
        return delta[:, :, 0]


@dataclass(frozen=True)
class NewtonKrylov(Newton):
    """Newton with ``(I − J) δ = f`` solved by restarted GMRES, per sample, to a tolerance that tightens near rest.

    Needs only products with J: for large n and for any function. The forcing term is ``min(0.1, √‖f‖/‖f₀‖)``-like
    (Eisenstat & Walker 1996, choice 2).

    Attributes:
        memory: Krylov vectors before a restart.
        restarts: at most.
    """

    memory: int = 20
    restarts: int = 5

    name: ClassVar[str] = "newton-krylov"

    def _direction(self, problem: Problem, x: Tensor, f: Tensor) -> Tensor:
        product = problem.jvp(x)
        size = torch.linalg.vector_norm(f, dim=1)
        scale = size / (torch.linalg.vector_norm(x, dim=1) + size)
        rtol = (0.9 * scale).clamp(1e-6 if f.dtype == torch.float64 else 1e-4, 0.1)
        return gmres(lambda v: v - product(v), f, rtol, self.memory, self.restarts)


def backtrack(
    problem: Callable[[Tensor], Tensor], x: Tensor, f: Tensor, delta: Tensor, *, halvings: int = 12
) -> Tensor:
    """Return ``x + s δ``, each sample's s halved until its residual is smaller than at x or the halvings are spent."""
    norm = torch.linalg.vector_norm(f, dim=1)
    size = torch.ones_like(norm)
    trial = x + delta
    for _ in range(halvings):
        worse = ~(torch.linalg.vector_norm(problem(trial) - trial, dim=1) < norm)
        if not bool(worse.any()):
            break
        size = torch.where(worse, size / 2, size)
        trial = torch.addcmul(x, size[:, None], delta)
    return trial
