"""The one loop under every solver: evaluate, judge every sample on its own, step.

A sample is accepted at the first check at which its residual is within tolerance, and its state is frozen there: what
its neighbours still need does not move it, and which step is a check depends on n and the tolerance alone. So a sample
gives alone what it gives in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilog.equilibrium.problem import Map
from equilog.equilibrium.solution import InverseEstimate, Solution, Status, Tolerance

Vector = np.ndarray[Any, np.dtype[np.floating[Any]]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

# A state this many times larger than the start and its residual has run off, and a relative tolerance no longer grows
# with it: or f(x) = x + 1 would be "solved" at x = 10⁵.
REACH = 1e3
# This many times further, state or residual, and no solver of ours comes back.
RUNAWAY = 1e3


def is_check(evaluation: int, n: int, rtol: float = 0.0) -> bool:
    """Tell whether residuals are judged after this many evaluations of f.

    Judging costs as much as two or three evaluations at n = 32 and nothing against one at n = 1024.
    """
    if evaluation <= 2 or n >= 512:
        return True
    if evaluation < 8:  # a decade takes a step or two of a good solver
        return rtol >= 3e-4 and evaluation == 6
    if n >= 96:
        return evaluation <= 12 or evaluation % 2 == 0
    return evaluation % (2 if evaluation <= 16 else 4) == 0


def iterate(
    solver: Any, problem: Map, start: Tensor | None, tolerance: Tolerance, keep_inverse: bool = False
) -> Solution:
    """Run a solver's verbs until every sample is at rest, has run away, or the steps are used up.

    Args:
        solver: offers ``init(problem, x) -> memory``, ``step(problem, x, fx, memory) -> x``, and ``terminate(...)``,
            see :class:`equilog.equilibrium.solvers.base.Solver`.
        problem: the maps.
        start: warm start ``(batch, n)``; the problem's own start if None.
        tolerance: when a sample is accepted.
        keep_inverse: put the solver's estimate of ``(I − J)⁻¹`` into the solution.

    Returns:
        the solution; samples that the solver gave up on early have status MAX_STEPS like those for which steps ran out.
    """
    x = problem.start if start is None else start
    verdict = _Verdict(x)
    if x.shape[0] == 0:
        return verdict.solution(solver, None)
    with np.errstate(over="ignore", invalid="ignore"):  # what runs away is reported by its status
        return _iterate(solver, problem, x, start is not None, tolerance, keep_inverse, verdict)


def _iterate(
    solver: Any, problem: Map, x: Tensor, warm: bool, tolerance: Tolerance, keep_inverse: bool, verdict: _Verdict
) -> Solution:
    n = x.shape[1]
    memory = solver.init(problem, x)
    every = solver.checks_every_step
    gauge = _Gauge()
    reach: Vector | None = None
    for k in range(1, solver.max_steps + 1):
        fx = problem(x)
        last = k == solver.max_steps
        # A warm start is looked at at once: it may be the answer already.
        check = every or last or (is_check(k, n, tolerance.rtol) and (k > 1 or warm))
        if check or solver.asks(k, memory):
            r, norm, size = gauge(x, fx)
            if reach is None:
                reach = REACH * (norm + size)
            limit = tolerance.rtol * np.minimum(size, reach)
            if tolerance.atol:
                limit += tolerance.atol
            if problem.original_residual is not None:
                norm = _original(problem.original_residual, r, norm, limit, last)
            # What a solver asks for between checks is for its own judgement: nobody is accepted then.
            accepted = norm <= limit if check else np.zeros(len(norm), dtype=bool)
            if accepted.all():
                away, leaving = None, None
            else:
                away = ~(np.maximum(norm, size) <= RUNAWAY * reach)  # nan included
                leaving = solver.terminate(k, size, norm, limit, memory)
            if verdict.over(k, x, norm, accepted, away, leaving, solver.time(memory)):
                break
        if not last:
            x = solver.step(problem, x, fx, memory)
    inverse = solver.inverse(problem, memory) if keep_inverse else None
    return verdict.solution(solver, inverse)


class _Gauge:
    """Measures residuals and states, in NumPy where it can: on small batches a framework call costs more than that."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None

    def __call__(self, x: Tensor, fx: Tensor) -> tuple[Tensor, Vector, Vector]:
        """Return ``f(x) − x``, overwritten by the next call, and the norms of that and of x, one number a sample."""
        arrays = in_numpy(x, fx)
        if arrays is None:
            r = fx - x
            return r, numbers(torch.linalg.vector_norm(r, dim=1)), numbers(torch.linalg.vector_norm(x, dim=1))
        a, b = arrays
        if self._buffer is None:
            self._buffer = torch.empty_like(x, memory_format=torch.contiguous_format)
        r = self._buffer
        c = r.numpy()
        np.subtract(b, a, out=c)
        return r, np.sqrt(np.vecdot(c, c)), np.sqrt(np.vecdot(a, a))


def in_numpy(a: Tensor, b: Tensor) -> tuple[Vector, Vector] | None:
    """Return views of two tensors; None on another device, in half precision, or wrapped by torch.func."""
    try:
        return a.numpy(), b.numpy()
    except (RuntimeError, TypeError):
        return None


def numbers(t: Tensor) -> Vector:
    """Return one number a sample as NumPy, whose operations on short vectors cost a third of PyTorch's."""
    try:
        return t.numpy()
    except (RuntimeError, TypeError):  # on another device, in half precision, or wrapped by torch.func
        return np.array(t.tolist())


def tensor_like(like: Tensor, a: np.ndarray[Any, Any]) -> Tensor:
    """Return the array as a tensor on the device of another."""
    t = torch.from_numpy(a)
    return t if like.device.type == "cpu" else t.to(like.device)


def _original(residual: Callable[[Tensor], Tensor], r: Tensor, norm: Vector, limit: Vector, last: bool) -> Vector:
    """Return the norms of the original's residuals where a sample may be accepted, else those of the map's own."""
    near = norm <= 4 * limit
    if not last and not near.any():
        return norm
    true = numbers(torch.linalg.vector_norm(residual(r), dim=1))
    # Far from rest the map's own residual is kept, so that what is compared does not depend on the neighbours.
    return true if last else np.where(near, true, norm)


class _Verdict:
    """Who is at rest, since when, and where. Costs next to nothing until the first sample stops before the others."""

    def __init__(self, x: Tensor) -> None:
        self.state = x
        self.residual: Vector = np.full(x.shape[0], np.inf)
        self.steps = np.zeros(x.shape[0], dtype=np.int64)
        self.time: Vector | None = None
        self.done: Mask = np.zeros(x.shape[0], dtype=bool)
        self.away = self.done
        self.open: Mask = ~self.done
        self.spoilt: Mask | None = None
        self._whole, self._first, self._step = True, True, 0

    def over(
        self,
        k: int,
        x: Tensor,
        norm: Vector,
        accepted: Mask,
        away: Mask | None,
        leaving: Mask | None,
        time: Tensor | None,
    ) -> bool:
        """Take the samples' standing at x into account; return whether nobody needs another step.

        `accepted` is who is at rest, `away` who has run away, `leaving` who is given up.
        """
        moving = self.open
        if self._first:
            self.spoilt, self._first = None if away is None else ~np.isfinite(norm), False
        if self._whole:  # nobody stopped before: nothing to merge
            self.state, self.residual, self._step = x, norm, k
            self.time = None if time is None else numbers(time)
        else:
            self.state = torch.where(tensor_like(x, moving)[:, None], x, self.state)
            self.residual = np.where(moving, norm, self.residual)
            self.steps[moving] = k
            if time is not None and self.time is not None:
                self.time = np.where(moving, numbers(time), self.time)
        if away is None:  # all accepted: the common end
            self.open = self.done if self._whole else moving & ~accepted
            self.done = self.done | moving
            return True
        accepted = moving & accepted & ~away
        self.done = self.done | accepted
        self.away = self.away | (moving & away)
        self.open = moving & ~(accepted | away if leaving is None else accepted | away | leaving)
        still = int(np.count_nonzero(self.open))
        if self._whole and still < len(moving):
            self._whole = False
            self.steps.fill(k)
        return still == 0

    def solution(self, solver: Any, inverse: InverseEstimate | None) -> Solution:
        """Put the verdicts into words."""
        if self._whole:
            self.steps.fill(self._step)
        complete = bool(self.done.all())
        status = picked = np.zeros(len(self.open), dtype=np.int64)
        if not complete:
            status = picked.copy()
            status[~self.done] = int(Status.MAX_STEPS)
            # What was not finite from the start is the caller's inf or nan; what became so has diverged.
            status[self.away] = int(Status.DIVERGED)
            if self.spoilt is not None:
                status[self.away & self.spoilt] = int(Status.NOT_FINITE)
        like = self.state
        return Solution(
            state=like,
            residual=tensor_like(like, self.residual).to(like.dtype),
            steps=tensor_like(like, self.steps),
            status=tensor_like(like, status),
            solvers=(solver.name,),
            picked=tensor_like(like, picked),
            complete=complete,
            time=None if self.time is None else tensor_like(like, self.time),
            inverse=inverse,
        )
