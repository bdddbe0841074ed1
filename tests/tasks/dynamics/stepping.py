"""What tests of learned steppers share: the eight tasks, their systems, another solver than DOP853."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch

from equilog.tasks import get_task
from equilog.tasks.dynamics import steppers
from equilog.tasks.dynamics.stepper import Stepper
from equilog.tasks.dynamics.systems import System

NAMES = sorted(
    c.name for c in vars(steppers).values() if isinstance(c, type) and issubclass(c, Stepper) and c != Stepper
)
every_task = pytest.mark.parametrize("name", NAMES)


def system_of(name: str) -> System:
    task = get_task(name)
    assert isinstance(task, Stepper)
    return task.system


def runge_kutta(system: System, substeps: int = 4) -> Callable[[torch.Tensor], torch.Tensor]:
    """The classical method, on the tape: another way than DOP853 to the next state."""
    h = system.step / substeps

    def predict(x: torch.Tensor) -> torch.Tensor:
        for _ in range(substeps):
            a = system.f(x)
            b = system.f(x + h / 2 * a)
            c = system.f(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + system.f(x + h * c))
        return x

    return predict


@cache
def shorter(name: str) -> System:
    """The same system over fewer steps: enough to tell right from wrong."""
    system = system_of(name)
    return replace(system, horizon={"lorenz63": 4.0, "roessler": 20.0, "lorenz96": 2.0}.get(name, system.horizon))
