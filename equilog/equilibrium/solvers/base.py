"""What a solver is: data, and four verbs that the loop calls.

``init`` makes the memory, ``step`` goes from x and f(x) to the next x, ``terminate`` gives up on samples early, and
``inverse`` offers what was learnt about ``(I − J)⁻¹``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.cells import AffineSystem
from equilog.equilibrium.affine import AffineProblem
from equilog.equilibrium.loop import Mask, Vector, iterate
from equilog.equilibrium.problem import Map, Problem
from equilog.equilibrium.solution import InverseEstimate, Solution, Tolerance


@dataclass(frozen=True)
class Solver:
    """Find ``x = f(x)`` of every sample.

    A sample is accepted when ``‖f(x) − x‖₂ ≤ atol + rtol ‖x‖₂``. Left as None, the tolerances follow the precision of
    the state: rtol 1e-5 and atol 1e-7 in float32, 1e-11 and 1e-13 in float64.

    Attributes:
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_steps: evaluations of f allowed.

    Raises:
        ValueError: for negative tolerances, or fewer than one step.
    """

    rtol: float | None = None
    atol: float | None = None
    max_steps: int = 200

    name: ClassVar[str] = ""
    checks_every_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Tolerance.of(torch.float64, self.rtol, self.atol)
        if self.max_steps < 1:
            raise ValueError(f"max_steps = {self.max_steps}: expected at least 1")

    @torch.no_grad()
    def solve(
        self, problem: AffineSystem | Problem, start: Tensor | None = None, *, keep_inverse: bool = False
    ) -> Solution:
        """Find ``x*`` of every sample; nothing is put on the tape.

        Args:
            problem: the equations.
            start: first guess, shaped like the states; the problem's own unless given.
            keep_inverse: keep the solver's estimate of ``(I − J)⁻¹`` in the solution, and the memory it holds.

        Returns:
            the solution, its state shaped like the system's injection (flat for other problems).

        Raises:
            TypeError: if the solver needs ``p = Wφ(p) + u`` and the problem is another.
        """
        flat = AffineProblem(problem) if isinstance(problem, AffineSystem) else problem
        if start is not None:
            start = start.detach().reshape(flat.start.shape).to(flat.start)
        solution = self.solve_flat(flat, start, self.tolerance(flat.precision), keep_inverse=keep_inverse)
        if isinstance(problem, AffineSystem) and problem.injection.ndim == 3:
            return solution.shaped(problem.injection.shape[:-1], problem.injection.shape)
        return solution

    def tolerance(self, dtype: torch.dtype) -> Tolerance:
        """Return the tolerances in force for states of this precision."""
        return Tolerance.of(dtype, self.rtol, self.atol)

    def solve_flat(
        self, problem: Problem, start: Tensor | None, tolerance: Tolerance, *, keep_inverse: bool = False
    ) -> Solution:
        """Solve on flat states with these tolerances; what :meth:`solve` and the adjoint call."""
        return iterate(self, problem, start, tolerance, keep_inverse)

    def init(self, problem: Map, x: Tensor) -> Any:
        """Return the memory that :meth:`step` keeps; called once."""
        return None

    def step(self, problem: Map, x: Tensor, fx: Tensor, memory: Any) -> Tensor:
        """Return the next x from x and f(x), without changing either."""
        raise NotImplementedError

    def asks(self, k: int, memory: Any) -> bool:
        """Whether to be told the residuals after k evaluations although no check is due; samples are not accepted."""
        return False

    def terminate(self, k: int, size: Vector, norm: Vector, limit: Vector, memory: Any) -> Mask | None:
        """Return a mask of samples on which to give up after k evaluations, or None to go on with all.

        `size` is ``‖x‖``, `norm` the residual and `limit` what would be accepted, one number a sample.
        """
        return None

    def inverse(self, problem: Map, memory: Any) -> InverseEstimate | None:
        """Return what is known of ``(I − J)⁻¹`` at the end."""
        return None

    def time(self, memory: Any) -> Tensor | None:
        """Return the time reached by each sample in τ, for solvers that follow the flow."""
        return None
