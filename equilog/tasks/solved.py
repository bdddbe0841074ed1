"""What a trusted solver takes: one sample after the other, timed."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from equilog.tasks.measures import SolverAnswer

TIMED = 64
"""samples that are timed; the others are solved in one call"""


def one_by_one(name: str, solve: Callable[[Tensor], Tensor], x: Tensor, operations: float) -> SolverAnswer:
    """Return the answers of a solver to all inputs, and the time of one.

    Args:
        name: of the solver, as people call it.
        solve: ``x -> y`` for inputs ``(samples, …)`` in float64; what it prepares once is done before the clock starts.
        x: inputs.
        operations: multiply–accumulates a sample.
    """
    x = x.detach().double().cpu()
    solve(x[:1])
    some = x[:TIMED]
    begin = time.perf_counter()
    answers = [solve(sample[None]) for sample in some]
    second = (time.perf_counter() - begin) / len(some)
    y = torch.cat([*answers, solve(x[TIMED:])] if len(x) > TIMED else answers)
    return SolverAnswer(name=name, y=y, second_per_sample=second, operations_per_sample=operations)
