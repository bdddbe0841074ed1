"""The chord method with one Jacobian for all samples: in the right gauge a step is one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from equilog.equilibrium.affine import AffineProblem, ShiftedMap
from equilog.equilibrium.loop import iterate
from equilog.equilibrium.problem import Map, Problem
from equilog.equilibrium.solution import InverseEstimate, Solution, Tolerance
from equilog.equilibrium.solvers.anderson import Anderson


@dataclass(frozen=True)
class Chord(Anderson):
    """Newton's method with the Jacobian at one slope d for all samples, accelerated; for ``p = Wφ(p) + u`` only.

    With ``K = (I − dW)⁻¹W``, made once, the chord step is ``p ← K(φ(p) − d p) + v``
    (:class:`~equilog.equilibrium.affine.ShiftedMap`): one matrix product, like Picard's. At d = 1/2 it contracts for
    every monotone W, whatever its norm, and every activation with slope in [0, 1]. Making K costs ``8/3 n³``
    operations, which is worth it up to n of about a thousand, or when it serves several solves. Samples are judged by
    the residual of the original equation.

    Attributes:
        slope: d; slopes near it converge fastest.
        memory: Anderson differences.
    """

    memory: int = 1
    slope: float = 0.5

    name: ClassVar[str] = "chord"

    def solve_flat(
        self, problem: Problem, start: Tensor | None, tolerance: Tolerance, *, keep_inverse: bool = False
    ) -> Solution:
        """Solve in the shifted gauge."""
        if not isinstance(problem, AffineProblem):
            raise TypeError(
                "the chord method needs p = Wφ(p) + u as an AffineSystem; take Anderson or Broyden for a function"
            )
        return iterate(self, problem.shift(self.slope), start, tolerance, keep_inverse)

    def inverse(self, problem: Map, memory: Any) -> InverseEstimate:
        """Return ``(I − dW)⁻¹``."""
        assert isinstance(problem, ShiftedMap)
        return ShiftedInverse(problem)


@dataclass(frozen=True)
class ShiftedInverse(InverseEstimate):
    """``(I − dW)⁻¹ = I + dK``: the inverse with one slope for all neurons of all samples."""

    of: ShiftedMap

    def left(self, g: Tensor) -> Tensor:
        """Return ``(I − dW)⁻ᵀ g``, with d Wᵀ for the ``D Wᵀ`` of the adjoint."""
        return self.of.inverse_transposed(g)
