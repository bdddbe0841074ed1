"""The one loop under every solver: evaluate, judge every sample on its own, step.

A sample is accepted at the first check at which its residual is within tolerance, and its state is frozen there: what
its neighbours still need does not move it, and which step is a check depends on n alone. So a sample gives alone what
it gives in a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equilog.equilibrium.problem import Map
from equilog.equilibrium.solution import InverseEstimate, Solution, Status, Tolerance

# A state this many times larger than the start and its residual has run off, and a relative tolerance no longer grows
# with it: or f(x) = x + 1 would be "solved" at x = 10⁵.
REACH = 1e3
# This many times further, state or residual, and no solver of ours comes back.
RUNAWAY = 1e3


def is_check(evaluation: int, n: int) -> bool:
    """Tell whether residuals are judged after this many evaluations of f.

    Judging costs about eight framework calls, as much as two evaluations at n = 32 and nothing against one at n = 1024.
    """
    if n >= 512 or evaluation <= 2:
        return True
    if n >= 256 or evaluation <= 16:
        return evaluation % 2 == 0
    return evaluation % 4 == 0


def iterate(
    solver: Any, problem: Map, start: Tensor | None, tolerance: Tolerance, keep_inverse: bool = False
) -> tuple[Solution, Tensor]:
    """Run a solver's verbs until every sample is at rest, has run away, or the steps are used up.

    Args:
        solver: offers ``init(problem, x) -> memory``, ``step(problem, x, fx, memory) -> x``, and ``terminate(...)``,
            see :class:`equilog.equilibrium.solvers.base.Solver`.
        problem: the maps.
        start: warm start ``(batch, n)``; the problem's own start if None.
        tolerance: when a sample is accepted.
        keep_inverse: put the solver's estimate of ``(I − J)⁻¹`` into the solution.

    Returns:
        the solution, and a mask of samples that the solver gave up on although steps were left.
    """
    x = problem.start if start is None else start
    batch, n = x.shape
    verdict = _Verdict(x)
    if batch == 0:
        return verdict.solution(solver, None), verdict.left
    memory = solver.init(problem, x)
    every = solver.checks_every_step
    reach: Tensor | None = None
    for k in range(1, solver.max_steps + 1):
        fx = problem(x)
        last = k == solver.max_steps
        # A warm start is looked at at once: it may be the answer already.
        if every or last or (is_check(k, n) and (k > 1 or start is not None)):
            r = fx - x
            norm, size = torch.linalg.vector_norm(r, dim=1), torch.linalg.vector_norm(x, dim=1)
            if reach is None:
                reach = (norm + size).mul_(REACH)
            limit = size.minimum(reach).mul_(tolerance.rtol).add_(tolerance.atol)
            away = ~(norm.maximum(size) <= reach * RUNAWAY)  # nan included
            if problem.original_residual is not None:
                norm = _original(problem, r, norm, limit, last)
            if verdict.over(k, x, norm, limit, away, solver, memory):
                break
        if not last:
            x = solver.step(problem, x, fx, memory)
    return verdict.solution(solver, solver.inverse(problem, memory) if keep_inverse else None), verdict.left


def _original(problem: Map, r: Tensor, norm: Tensor, limit: Tensor, last: bool) -> Tensor:
    """Return the norms of the original's residuals where a sample may be accepted, else those of the map's own."""
    near = norm <= 4 * limit
    if not last and not bool(near.any()):
        return norm
    assert problem.original_residual is not None
    true = torch.linalg.vector_norm(problem.original_residual(r), dim=1)
    # Far from rest the map's own residual is kept, so that what is compared does not depend on the neighbours.
    return true if last else torch.where(near, true, torch.maximum(norm, 2 * limit))


class _Verdict:
    """Who is at rest, since when, and where."""

    def __init__(self, x: Tensor) -> None:
        batch = x.shape[0]
        self.state = x
        self.residual = x.new_full((batch,), torch.inf)
        self.steps = torch.zeros(batch, dtype=torch.int64, device=x.device)
        self.done = torch.zeros(batch, dtype=torch.bool, device=x.device)
        self.left = self.done
        self.ran_away = self.done
        self.time: Tensor | None = None
        self._frozen = False
        self._spoilt: Tensor | None = None

    def over(self, k: int, x: Tensor, norm: Tensor, limit: Tensor, away: Tensor, solver: Any, memory: Any) -> bool:
        """Take the samples' residuals at x into account; return whether nobody needs another step."""
        if self._spoilt is None:
            self._spoilt = ~torch.isfinite(norm)
        accepted = (norm <= limit) & ~away
        leaving = solver.terminate(k, x, norm, limit, memory)
        stopped = accepted | away if leaving is None else accepted | away | leaving
        everyone = bool(stopped.all())
        if not self._frozen:
            if everyone:  # the common end: all at once, nothing to merge
                self._take(k, x, norm, solver, memory)
            elif bool(stopped.any()):
                self._take(k, x, norm, solver, memory)
                self._frozen = True
            else:
                self.state, self.residual = x, norm
                self.steps.fill_(k)
                return False
            self.done, self.ran_away = accepted, away
            self.left = torch.zeros_like(accepted) if leaving is None else leaving & ~accepted
            return everyone
        moving = ~(self.done | self.ran_away | self.left)
        self.state = torch.where(moving[:, None], x, self.state)
        self.residual = torch.where(moving, norm, self.residual)
        self.steps = torch.where(moving, k, self.steps)
        time = solver.time(memory)
        if time is not None and self.time is not None:
            self.time = torch.where(moving, time, self.time)
        self.done = self.done | (moving & accepted)
        self.ran_away = self.ran_away | (moving & away)
        if leaving is not None:
            self.left = self.left | (moving & leaving & ~accepted)
        return bool((self.done | self.ran_away | self.left).all())

    def _take(self, k: int, x: Tensor, norm: Tensor, solver: Any, memory: Any) -> None:
        self.state, self.residual = x, norm
        self.steps = torch.full_like(self.steps, k)
        time = solver.time(memory)
        self.time = None if time is None else time.clone()

    def solution(self, solver: Any, inverse: InverseEstimate | None) -> Solution:
        """Put the verdicts into words."""
        status = torch.where(self.done, int(Status.CONVERGED), int(Status.MAX_STEPS))
        if self._spoilt is not None and bool(self.ran_away.any()):
            # What was not finite from the start is the caller's inf or nan; what became so has diverged.
            bad = torch.where(self._spoilt, int(Status.NOT_FINITE), int(Status.DIVERGED))
            status = torch.where(self.ran_away, bad, status)
        return Solution(
            state=self.state,
            residual=self.residual,
            steps=self.steps,
            status=status,
            solvers=(solver.name,),
            picked=torch.zeros_like(self.steps),
            time=self.time,
            inverse=inverse,
        )
