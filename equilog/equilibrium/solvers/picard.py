"""Picard iteration, damped if need be: the cheapest step there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.equilibrium.loop import Mask, Vector, numbers
from equilog.equilibrium.problem import Map
from equilog.equilibrium.solvers.base import Solver


@dataclass(frozen=True)
class Picard(Solver):
    """``x ← x + β (f(x) − x)`` (Banach 1922; damping after Krasnoselskii 1955).

    Converges for contractive f, at the rate of its contraction. Often not a very effective method, but where the rate
    is below a half nothing beats a step that costs one evaluation.

    Attributes:
        damping: β in (0, 1]; 1 is plain iteration.

    Raises:
        ValueError: if the damping is outside (0, 1].
    """

    damping: float = 1.0

    name: ClassVar[str] = "picard"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.damping <= 1:
            raise ValueError(f"damping = {self.damping}: expected a number in (0, 1]")

    def step(self, problem: Map, x: Tensor, fx: Tensor, memory: Any) -> Tensor:
        """Return ``x + β (f(x) − x)``."""
        return fx if self.damping == 1 else torch.lerp(x, fx, self.damping)


# A sample within this of the pace is in doubt, and judged again after that many evaluations.
DOUBT = 0.7
SECOND_LOOK = 4


@dataclass
class _Pace:
    """The first x and f(x); the residuals when the pace was last judged, and when that was; whose pace is in doubt.

    One ratio of residuals is a guess where activations saturate: who passes it narrowly is looked at again soon.
    """

    first: tuple[Tensor, Tensor] | None = None
    norm: Vector | None = None
    evaluation: int = 1
    doubtful: Mask | None = None


@dataclass(frozen=True)
class PatientPicard(Picard):
    """Picard that leaves a sample to another solver as soon as it is slower than a given pace.

    Attributes:
        pace: the residual's ratio per step, since the sample was last judged, above which it is left.
    """

    pace: float = 0.55

    def init(self, problem: Map, x: Tensor) -> _Pace:
        """Return an empty memory of the pace."""
        return _Pace()

    def step(self, problem: Map, x: Tensor, fx: Tensor, memory: _Pace) -> Tensor:
        """Return f(x), keeping the first."""
        if memory.first is None:
            memory.first = x, fx
        return super().step(problem, x, fx, memory)

    def asks(self, k: int, memory: _Pace) -> bool:
        """Ask for a second look where someone's pace is in doubt."""
        return k == SECOND_LOOK and memory.doubtful is not None

    def terminate(self, k: int, size: Vector, norm: Vector, limit: Vector, memory: _Pace) -> Mask | None:
        """Give up on samples that are too slow: after 2 evaluations, 4 if in doubt, and every 8 or more after that."""
        if memory.first is None:
            return None
        if memory.norm is not None and memory.doubtful is not None and k == SECOND_LOOK:
            late: Mask = memory.doubtful & (norm > memory.norm * self.pace ** (k - memory.evaluation))
            memory.doubtful = None
            return late
        if memory.norm is not None and k - memory.evaluation < 8:
            return None
        before = _distance(*memory.first) if memory.norm is None else memory.norm
        slow: Mask = norm > before * self.pace ** (k - memory.evaluation)
        if memory.norm is None and k < SECOND_LOOK:
            doubtful = ~slow & (norm > DOUBT * before * self.pace ** (k - memory.evaluation))
            memory.doubtful = doubtful if doubtful.any() else None
        memory.evaluation, memory.norm = k, norm
        return slow


def _distance(a: Tensor, b: Tensor) -> Vector:
    return numbers(torch.linalg.vector_norm(b - a, dim=1))
