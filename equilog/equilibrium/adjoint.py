"""Gradients through an equilibrium by the implicit function theorem, of any order.

At rest ``x = f(x, θ)`` with ``J = ∂f/∂x``. Differentiating, ``dx = J dx + ∂f/∂θ dθ``, so for an incoming gradient
``g = ∂L/∂x``

    λ = g + Jᵀ λ           (the adjoint equation: a fixed point again)
    ∂L/∂θ = λᵀ ∂f/∂θ       (one ordinary backward pass through one evaluation of f)

:class:`Implicit` returns x*, and on the way back hands ``λ`` instead of ``g`` to ``f(x*, θ)``; autograd does the rest.
Memory does not grow with the number of forward steps. Under ``create_graph=True`` the gradient must itself be a
function of θ: λ is settled on tape, as an equilibrium that depends on x*, g and θ, and ``λᵀ ∂f/∂θ`` is taken at the x*
that depends on θ. With this same construction for λ's own gradient, derivatives of every order are right.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from equilog.equilibrium.loop import numbers
from equilog.equilibrium.problem import Problem
from equilog.equilibrium.solution import InverseEstimate, Solution, Tolerance
from equilog.equilibrium.solvers.base import Solver


class AdjointWarning(UserWarning):
    """The adjoint equation was not solved to tolerance: gradients of those samples are inexact."""


@dataclass
class AdjointCall:
    """All that a backward pass needs to know besides tensors.

    Attributes:
        problem: whose fixed point was found.
        gradient: turns ``g`` into λ, exactly or not.
        settle: the layer's way to settle an equation on tape, for derivatives of higher order.
        inverse: the forward solver's estimate of ``(I − J)⁻¹``, if the gradient wants one.
        report: told the verdicts of an adjoint solve.
    """

    problem: Problem
    gradient: Gradient
    settle: Callable[[Any], Tensor]
    inverse: InverseEstimate | None
    report: Callable[[Solution], None]


class Gradient:
    """How λ is found. Subclasses say what they neglect."""

    needs_inverse = False

    def adjoint(self, call: AdjointCall, x: Tensor, g: Tensor) -> Tensor:
        """Return λ, shape ``(batch, n)``, for the resting state ``x`` and incoming gradient ``g``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Exact(Gradient):
    """``λ = g + Jᵀ λ`` solved to a residual of ``rtol ‖g‖`` in every sample.

    Attributes:
        solver: how; ``auto`` reuses the factorisation of the forward solve wherever there was one.
        rtol: relative to the incoming gradient; the forward solver's default for the precision if None.
    """

    solver: Solver
    rtol: float | None = None

    def adjoint(self, call: AdjointCall, x: Tensor, g: Tensor) -> Tensor:
        """Solve the adjoint equation.

        Warns:
            AdjointWarning: if a sample was not solved.
        """
        # Unit-norm right-hand sides: the answer must not depend on how large the loss happens to be.
        size = torch.linalg.vector_norm(g, dim=1, keepdim=True)
        unit = g / torch.where(size > 0, size, 1)
        rtol = self.rtol if self.rtol is not None else self.solver.tolerance(call.problem.precision).rtol
        problem, to_lambda = call.problem.adjoint(x, unit)
        found = self.solver.solve_flat(problem, None, Tolerance(0.0, rtol))
        call.report(replace(found, residual=found.residual * size[:, 0]))
        lam = to_lambda(found.state)
        self._judge(found, lam)
        return lam * size

    def _judge(self, found: Solution, lam: Tensor) -> None:
        # The right-hand side has unit norm: a solution beyond 1/√eps is cancellation, whatever its residual says.
        sound = numbers(torch.linalg.vector_norm(lam, dim=1)) < torch.finfo(lam.dtype).eps ** -0.5
        if not (found.complete and sound.all()):
            bad = ~found.converged | ~torch.from_numpy(sound).to(lam.device)
            worst = float(found.residual[bad].nan_to_num(torch.inf).max())
            warnings.warn(
                f"the adjoint equation was not solved for {int(bad.sum())} of {len(bad)} samples (worst residual "
                f"{worst:.1e} relative to the incoming gradient): it is singular, its right-hand side not finite, or "
                "more steps are needed; the gradients of those samples are not to be trusted",
                AdjointWarning,
                stacklevel=3,
            )


class Implicit(torch.autograd.Function):
    """The resting state forward; backward replaces the incoming gradient by λ and hands it to ``f(x*, θ)``."""

    @staticmethod
    def forward(y: Tensor, x: Tensor, call: AdjointCall, *theta: Tensor) -> Tensor:
        """Return the resting state x; ``y = f(x, θ)`` is there for its graph, ``theta`` is what f is made of.

        The state itself is returned, not y: its residual is the one that was judged.
        """
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Remember the resting state, and output and θ for derivatives of higher order."""
        _, x, ctx.call, *theta = inputs
        ctx.save_for_backward(x, output, *theta)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return λ for y; under ``create_graph``, instead, the gradients of θ as functions of θ."""
        x, output, *theta = ctx.saved_tensors
        call: AdjointCall = ctx.call
        nothing = (None,) * len(theta)
        if not torch.is_grad_enabled():
            return call.gradient.adjoint(call, x, g), None, None, *nothing
        call.problem.check_theta(x)
        lam = call.problem.adjoint_on_tape(output, g, theta, call.settle)
        # ∂f/∂θ is partial: aliases keep the engine from also walking to θ through x*(θ), which λ has accounted for.
        aliases = [t.view_as(t) for t in theta]
        y = call.problem.on_tape(output, aliases)
        wanted = [t for t in aliases if t.requires_grad]
        found = iter(torch.autograd.grad(y, wanted, lam, create_graph=True, allow_unused=True) if wanted else ())
        return None, None, None, *(next(found) if t.requires_grad else None for t in theta)


# PyTorch asks for the signature at every call, which costs as much as five evaluations of a small cell: keep it.
Implicit.forward.__signature__ = inspect.signature(Implicit.forward)  # type: ignore[attr-defined]
