"""Picard iteration, damped if need be: the cheapest step there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from equilog.equilibrium.loop import Mask, Vector
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


@dataclass
class _Pace:
    """Residuals at the last check, from which the pace is judged."""

    evaluation: int = 0
    norm: Vector | None = None


@dataclass(frozen=True)
class PatientPicard(Picard):
    """Picard that gives up on a sample as soon as its pace tells that it would need too many steps.

    The pace ρ is the residual's ratio per step since the last check; at the first check ``‖x‖`` stands for the residual
    before the start. A sample is left to another solver when ``k + log(limit/residual)/log ρ`` exceeds `patience`.
    """

    patience: int = 20

    def init(self, problem: Map, x: Tensor) -> _Pace:
        """Return an empty memory of the pace."""
        return _Pace()

    def terminate(self, k: int, size: Vector, norm: Vector, limit: Vector, memory: _Pace) -> Mask | None:
        """Give up on samples whose predicted number of steps exceeds the patience."""
        if k < 2 or (memory.norm is not None and k - memory.evaluation < 8):  # a pace needs some way to be judged by
            return None
        before = size if memory.norm is None else memory.norm
        steps = k - memory.evaluation
        memory.evaluation, memory.norm = k, norm
        # remaining = log(limit/norm) / (log(norm/before)/steps) > patience − k, without dividing by a log near zero
        norm = np.maximum(norm, np.finfo(norm.dtype).tiny)
        ahead, pace = limit / norm, norm / np.maximum(before, np.finfo(norm.dtype).tiny)
        left: Mask = np.log(ahead) * steps < np.log(pace) * max(self.patience - k, 0)
        return left
