"""The equilibrium as a PyTorch layer: settle forward, implicit gradient backward, honest about failures."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from equilog.cells import AffineSystem
from equilog.equilibrium.adjoint import AdjointCall, Exact, Gradient, Implicit
from equilog.equilibrium.affine import AffineProblem
from equilog.equilibrium.autocast import without_autocast
from equilog.equilibrium.function import FunctionProblem
from equilog.equilibrium.problem import Problem
from equilog.equilibrium.solution import InverseEstimate, Solution, Status
from equilog.equilibrium.solvers import Auto, Solver
from equilog.equilibrium.states import Nested

OnFailure = Literal["raise", "warn", "ignore"]


class EquilibriumWarning(UserWarning):
    """Some samples did not come to rest within tolerance."""


class NotConvergedError(RuntimeError):
    """Raised instead of :class:`EquilibriumWarning` under ``on_failure="raise"``."""


class EquilibriumLayer(nn.Module):
    """Settle an equation and return its resting state, differentiable in all that the equation is made of.

    Two kinds of equation: an :class:`~equilog.cells.AffineSystem` (``layer(system)`` returns ``z* = φ(p*)``), whose
    structure makes everything faster; and any function (``layer.fixed_point(f, z)``), on a tensor or a tuple of
    tensors. Gradients flow by the implicit function theorem (see :mod:`equilog.equilibrium.adjoint`), of every order.

    Limits. Under ``torch.autocast`` an affine system is solved in the precision of its own tensors; a function
    computes in what autocast gives it, and tolerances are widened to what that precision can reach.
    ``torch.func.grad`` and ``vjp`` work on affine systems; ``vmap`` does not, because the number of steps depends on
    the data: put the mapped dimension into the batch, or, for weights, use a population.

    Args:
        solver: how to settle; ``Auto()`` unless given.
        gradient: how to differentiate; exact, by the solver itself, unless given.
        on_failure: what to do when a sample does not converge. ``"warn"`` names count and worst residual.

    Attributes:
        last: the :class:`Solution` of the most recent call, detached; None before the first.
        last_backward: the same of the most recent adjoint solve; ``residual`` in units of the incoming gradient.
    """

    def __init__(
        self,
        solver: Solver | None = None,
        *,
        gradient: Gradient | None = None,
        on_failure: OnFailure = "warn",
    ) -> None:
        super().__init__()
        if on_failure not in get_args(OnFailure):
            raise ValueError(f"on_failure = {on_failure!r}: expected one of {', '.join(get_args(OnFailure))}")
        self.solver = solver or Auto()
        self.gradient = gradient or Exact(self.solver)
        self.on_failure = on_failure
        self.last: Solution | None = None
        self.last_backward: Solution | None = None

    def forward(self, system: AffineSystem, start: Tensor | None = None) -> Tensor:
        """Return ``z* = φ(p*)``, shaped like the injection.

        Args:
            system: the equations to settle.
            start: warm start for ``p``, shaped like the injection.

        Raises:
            NotConvergedError: under ``on_failure="raise"``, if any sample did not converge.
        """
        return system.activation(self.rest(system, start))

    def rest(self, system: AffineSystem, start: Tensor | None = None) -> Tensor:
        """Return the resting pre-activation ``p*`` itself, differentiable like ``z*``."""
        with without_autocast(system.injection.device.type):  # also for the evaluation on tape
            problem = AffineProblem(system)
            flat = None if start is None else start.detach().reshape(problem.start.shape).to(problem.start)
            x = self._find(problem, flat, system.injection.shape)
            if not torch.is_grad_enabled():
                return x.view(system.injection.shape)
            # The one evaluation of f that is on the tape; its value equals p* to within the tolerance.
            y = system(x.view(system.injection.shape)).reshape(x.shape)
            return self._attach(problem, x, y, self._inverse).view(system.injection.shape)

    def rest_at(self, system: AffineSystem, p: Tensor) -> Tensor:
        """Return `p`, a resting state found elsewhere, as if this layer had come to rest there.

        The value is `p` as it was measured; the gradient is that of the resting state of `system`, linearised at `p`:
        ``λ = g + D Wᵀ λ`` with the slopes ``D = φ'(p)``, then ``λᵀ ∂(Wφ(p) + u)/∂θ``. Where `p` is the resting state
        of `system` this is :meth:`rest`. Where it is not, because the machine that found `p` is another system, two
        things are neglected: by how much the machine's own W and φ' differ from those of `system`, and that
        ``Wφ(p) + u − p`` is not zero. Both vanish with the difference; what the forward pass computes is exact in any
        case (physics-aware training: Wright et al., Nature 601 (2022) 549).

        Args:
            system: the equations that are differentiated.
            p: shaped like the injection; no gradient flows to it.

        Raises:
            ValueError: for another shape, or a number that is inf or nan.
        """
        if p.shape != system.injection.shape:
            raise ValueError(f"p has shape {tuple(p.shape)}, expected {tuple(system.injection.shape)}")
        if not bool(p.isfinite().all()):
            raise ValueError("p holds inf or nan: a state that was not seen must be estimated before its gradient is")
        with without_autocast(system.injection.device.type):
            problem = AffineProblem(system)
            x = p.detach().to(problem.start).reshape(problem.start.shape)
            if not torch.is_grad_enabled():
                return x.view(p.shape)
            y = system(x.view(p.shape)).reshape(x.shape)
            return self._attach(problem, x, y, None).view(p.shape)

    def fixed_point(self, f: Callable[..., Any], z: Nested, *args: Any) -> Any:
        """Return ``z* = f(z*, *args)``, differentiable in `args` and in all else that f uses.

        Args:
            f: ``(z, *args) -> z'`` with z' shaped like z, batch first; samples must not depend on each other.
            z: where to begin, a tensor or a tuple of tensors; no gradient flows to it.
            args: what else f takes. Second derivatives need every tensor here, or as a parameter if f is a module.

        Raises:
            NotConvergedError: under ``on_failure="raise"``, if any sample did not converge.
            ValueError: if f changes the shapes.
        """
        problem = FunctionProblem(f, z, args)
        return problem.states.unpack(self._settle_function(problem))

    def _settle_function(self, problem: FunctionProblem) -> Tensor:
        with without_autocast(problem.start.device.type):
            x = self._find(problem, None, None)
        if not torch.is_grad_enabled():
            return x
        y = problem(x.detach())
        return self._attach(problem, x, y, self._inverse) if y.requires_grad else x

    def _find(self, problem: Problem, start: Tensor | None, shape: torch.Size | None) -> Tensor:
        with torch.no_grad():
            tolerance, keep = self.solver.tolerance(problem.precision), self.gradient.needs_inverse
            solution = self.solver.solve_flat(problem, start, tolerance, keep_inverse=keep)
        self.last = solution if shape is None or len(shape) == 2 else solution.shaped(shape[:-1], shape)
        self._judge(solution)
        return solution.state

    @property
    def _inverse(self) -> InverseEstimate | None:
        return None if self.last is None else self.last.inverse

    def _attach(self, problem: Problem, x: Tensor, y: Tensor, inverse: InverseEstimate | None) -> Tensor:
        call = AdjointCall(
            problem=problem,
            gradient=self.gradient,
            settle=self._settle_on_tape,
            inverse=inverse,
            report=self._report,
        )
        out: Tensor = Implicit.apply(y, x, call, *problem.theta)
        return out

    def _settle_on_tape(self, equation: AffineSystem | FunctionProblem) -> Tensor:
        """Settle the adjoint equation as an equilibrium of its own: linear, exact, to the tightest tolerance we use."""
        inner = EquilibriumLayer(self.solver, on_failure=self.on_failure)
        if isinstance(equation, AffineSystem):
            return inner.rest(equation)
        return inner._settle_function(equation)

    def _report(self, solution: Solution) -> None:
        self.last_backward = solution

    def _judge(self, solution: Solution) -> None:
        if solution.complete or self.on_failure == "ignore":
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
        warnings.warn(message, EquilibriumWarning, stacklevel=4)
