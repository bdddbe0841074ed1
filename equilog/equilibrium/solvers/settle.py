"""Follow the flow itself, as the circuit does, and report the time it takes to come to rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equilog.equilibrium.problem import Map
from equilog.equilibrium.solvers.base import Solver


@dataclass
class Clock:
    """Each sample's time, and the step it wants to take next, in τ."""

    t: Tensor
    dt: Tensor


@dataclass(frozen=True)
class Settle(Solver):
    """Integrate ``τ ẋ = f(x) − x`` from the start until the residual is within tolerance.

    Ralston's third-order method (Math. Comp. 1962) with the midpoint rule embedded, every sample with its own step
    size and clock. Converges wherever the flow does: for monotone weights of any norm and slopes in [0, 1]. It is
    explicit, so stiffness costs steps; it is here to tell the time (``solution.time``, in τ), not to be fast. One step
    costs three evaluations of f.

    Attributes:
        accuracy: local error of a step relative to ``‖x‖ + ‖f(x) − x‖``, and never above 5 % of the distance still to
            go; the clock's accuracy follows.
        max_steps: integration steps allowed.
    """

    accuracy: float = 1e-4
    max_steps: int = 2000

    name: ClassVar[str] = "settle"
    checks_every_step: ClassVar[bool] = True

    def init(self, problem: Map, x: Tensor) -> Clock:
        """Set all clocks to zero."""
        return Clock(x.new_zeros(x.shape[0]), x.new_full((x.shape[0],), 0.1))

    def step(self, problem: Map, x: Tensor, fx: Tensor, memory: Clock) -> Tensor:
        """Advance each sample by one accepted step; a sample whose step was too long stays and tries a shorter one."""
        clock = memory
        dt = clock.dt[:, None]
        k1 = fx - x
        x2 = torch.addcmul(x, dt, k1, value=0.5)
        k2 = problem(x2) - x2
        x3 = torch.addcmul(x, dt, k2, value=0.75)
        k3 = problem(x3) - x3
        new = x + dt * (2 / 9 * k1 + 1 / 3 * k2 + 4 / 9 * k3)
        # The embedded second-order result is the midpoint rule's.
        error = dt * (2 / 9 * k1 - 2 / 3 * k2 + 4 / 9 * k3)
        speed = torch.linalg.vector_norm(k1, dim=1)
        # Near rest the error must shrink with what is left to go, or the state would jitter about it for ever.
        scale = (self.accuracy * (torch.linalg.vector_norm(x, dim=1) + speed)).minimum(0.05 * speed)
        ratio = torch.linalg.vector_norm(error, dim=1) / scale.clamp(min=torch.finfo(x.dtype).tiny)
        good = ratio <= 1
        clock.t = torch.where(good, clock.t + clock.dt, clock.t)
        factor = (0.9 * ratio.clamp(min=1e-10).pow(-1 / 3)).clamp(0.2, 4.0)
        clock.dt = (clock.dt * factor).nan_to_num(1e-3).clamp(max=10.0)
        return torch.where(good[:, None], new, x)

    def time(self, memory: Clock | None) -> Tensor | None:
        """Return the clocks."""
        return None if memory is None else memory.t
