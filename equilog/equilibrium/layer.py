"""The equilibrium as a PyTorch layer: settle forward, implicit gradient backward, honest about failures."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from equilog.cells import AffineSystem
from equilog.equilibrium.adjoint import ImplicitAdjoint
from equilog.equilibrium.solution import Solution, Status
from equilog.equilibrium.solver import ChordSolver

OnFailure = Literal["raise", "warn", "ignore"]


class EquilibriumWarning(UserWarning):
    """Some samples did not come to rest within tolerance."""


class NotConvergedError(RuntimeError):
    """Raised instead of :class:`EquilibriumWarning` under ``on_failure="raise"``."""


class EquilibriumLayer(nn.Module):
    """Settle an :class:`AffineSystem` and return ``z* = φ(p*)``, differentiable in all that makes the system.

    Gradients flow to the weight, the injection and the activation's own parameters by the implicit function
    theorem (see :mod:`equilog.equilibrium.adjoint`).

    Args:
        solver: how to settle.
        on_failure: what to do when a sample does not converge. ``"warn"`` names count and worst residual.

    Attributes:
        last: the :class:`Solution` of the most recent call, detached; None before the first.
    """

    def __init__(self, solver: ChordSolver | None = None, *, on_failure: OnFailure = "warn") -> None:
        super().__init__()
        if on_failure not in get_args(OnFailure):
            raise ValueError(f"on_failure = {on_failure!r}: expected one of {', '.join(get_args(OnFailure))}")
        self.solver = solver or ChordSolver()
        self.on_failure = on_failure
        self.last: Solution | None = None

    def forward(self, system: AffineSystem, start: Tensor | None = None) -> Tensor:
        """Return ``z*`` of shape ``(batch, n)``.

        Args:
            system: the equations to settle.
            start: warm start for ``p``, shape ``(batch, n)``.

        Raises:
            NotConvergedError: under ``on_failure="raise"``, if any sample did not converge.
        """
        return system.activation(self.rest(system, start))

    def rest(self, system: AffineSystem, start: Tensor | None = None) -> Tensor:
        """Return the resting pre-activation ``p*`` itself, shape ``(batch, n)``, differentiable like ``z*``."""
        solution = self.solver.solve(system, start)
        self.last = solution
        self._judge(solution)
        if not torch.is_grad_enabled():
            return solution.state
        rtol, _ = self.solver.tolerances(system.injection.dtype)
        slope = system.activation.slope(solution.state).detach()
        weight = system.weight.detach()
        # The one evaluation of f that is on the tape; its value equals p* to within the tolerance.
        out: Tensor = ImplicitAdjoint.apply(system(solution.state), weight, slope, solution.inverse, rtol)
        return out

    def _judge(self, solution: Solution) -> None:
        if self.on_failure == "ignore" or bool(solution.converged.all()):
            return
        bad = ~solution.converged
        worst = int(torch.where(bad, solution.residual.nan_to_num(torch.inf), -1.0).argmax())
        status = Status(int(solution.status[worst]))
        message = (
            f"{int(bad.sum())} of {len(bad)} samples did not come to rest; worst is sample {worst} with residual "
            f"{float(solution.residual[worst]):.2e} ({status.name}): {status.advice}"
        )
        if self.on_failure == "raise":
            raise NotConvergedError(message)
        warnings.warn(message, EquilibriumWarning, stacklevel=3)
