"""``auto``: the cheapest solver that serves each sample, and a record of which one did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import ClassVar

import torch
from torch import Tensor

from equilog.equilibrium.affine import AffineProblem
from equilog.equilibrium.loop import iterate
from equilog.equilibrium.problem import Problem
from equilog.equilibrium.solution import Solution, Status, Tolerance
from equilog.equilibrium.solvers.anderson import Anderson
from equilog.equilibrium.solvers.base import Solver
from equilog.equilibrium.solvers.chord import Chord
from equilog.equilibrium.solvers.newton import Newton, NewtonKrylov
from equilog.equilibrium.solvers.picard import PatientPicard
from equilog.equilibrium.solvers.settle import Settle

# Beyond this n, making the chord's K (8/3 n³) costs more than the two dozen steps it saves.
CHORD_WORTH_IT = 384
# Below this n a Jacobian of every sample is factorised as fast as a Krylov space is built.
DIRECT_NEWTON = 512
DIRECT_NEWTON_OF_FUNCTION = 64
# Picard at this ratio per step takes as many steps as the solver that would relieve it: the chord method, or Anderson.
PACE = 0.55
PACE_OF_FUNCTION = 0.7
# Steps of the flow for each that the others were allowed: it is slow, and has the last word.
FLOW_STEPS = 10


@dataclass(frozen=True)
class Auto(Solver):
    """Try the cheapest first and hand each sample on by its own progress, never by its neighbours'.

    ``p = Wφ(p) + u``: Picard while its residual shrinks fast enough; then the chord method (or, for large n
    without a factorisation at hand, damped Anderson); then Newton. Any other function: Picard, Anderson, Newton, by
    Krylov iteration for large n. What Newton leaves (it can be caught where its residual has a minimum) follows the
    flow ``ẋ = f(x) − x`` as the circuit would. ``solution.summary()`` says who settled how many.

    Attributes:
        max_steps: evaluations allowed to each of the solvers in turn.
        probe: whether Picard is tried first. Not worth it where the weight is known to be no contraction: a batch is
            held up by the few samples for which it half works.
    """

    max_steps: int = 60
    probe: bool = True

    name: ClassVar[str] = "auto"

    def solve_flat(
        self, problem: Problem, start: Tensor | None, tolerance: Tolerance, *, keep_inverse: bool = False
    ) -> Solution:
        """Solve in stages; each takes over what the one before left."""
        affine = isinstance(problem, AffineProblem)
        if not self.probe:
            first, *rescuers = self._rescuers(problem)
            solution = first.solve_flat(problem, start, tolerance, keep_inverse=keep_inverse)
            return self._rescue(solution, rescuers, problem, start, tolerance, keep_inverse)
        patient = _patient(self.max_steps, 1.0, PACE if affine else PACE_OF_FUNCTION)
        solution = iterate(patient, problem, start, tolerance)
        return self._rescue(solution, self._rescuers(problem), problem, start, tolerance, keep_inverse)

    def _rescue(
        self,
        solution: Solution,
        rescuers: Sequence[Solver],
        problem: Problem,
        start: Tensor | None,
        tolerance: Tolerance,
        keep_inverse: bool,
    ) -> Solution:
        if solution.complete:
            return solution
        for solver in rescuers:
            left = (solution.status == Status.MAX_STEPS) | (solution.status == Status.DIVERGED)
            if not bool(left.any()):
                break
            solution = hand_over(solution, problem, solver, start, tolerance, left, keep_inverse)
        return solution

    def _rescuers(self, problem: Problem) -> tuple[Solver, ...]:
        steps = self.max_steps
        newton = Newton(max_steps=steps) if problem.n <= DIRECT_NEWTON else NewtonKrylov(max_steps=steps)
        flow = Settle(max_steps=FLOW_STEPS * steps)
        if not isinstance(problem, AffineProblem):
            small = problem.n <= DIRECT_NEWTON_OF_FUNCTION
            newton = newton if small else NewtonKrylov(max_steps=steps)
            return Anderson(max_steps=steps, memory=8, damping=0.5), newton, flow
        if problem.n <= CHORD_WORTH_IT or problem.has_factor:
            return Chord(max_steps=steps), newton, flow
        return Anderson(max_steps=steps, memory=5, damping=0.7), Chord(max_steps=steps), newton, flow


_patient = cache(partial(PatientPicard, None, None))


def hand_over(
    first: Solution,
    problem: Problem,
    rescue: Solver,
    start: Tensor | None,
    tolerance: Tolerance,
    left: Tensor,
    keep_inverse: bool,
) -> Solution:
    """Let another solver settle the samples in the mask `left`, and merge the verdicts."""
    rows = left.nonzero()[:, 0]
    everyone = len(rows) == len(left)
    rest = problem if everyone else problem.select(rows)
    begin = start if start is None or everyone else start[rows]
    second = rescue.solve_flat(rest, begin, tolerance, keep_inverse=keep_inverse and everyone)
    names = (*first.solvers, *(name for name in second.solvers if name not in first.solvers))
    if everyone and second.complete:
        picked = torch.full_like(second.picked, names.index(second.solvers[0]))
        return replace(second, steps=first.steps + second.steps, solvers=names, picked=picked)
    index = torch.tensor([names.index(name) for name in second.solvers], device=left.device)
    # Where neither succeeded, the better of the two is kept.
    better = second.converged | ~(first.residual[rows] <= second.residual)

    def merge(a: Tensor, b: Tensor) -> Tensor:
        mask = better[:, None] if a.ndim == 2 else better
        return a.index_copy(0, rows, torch.where(mask, b, a[rows]))

    status = merge(first.status, second.status)
    return replace(
        first,
        state=merge(first.state, second.state),
        residual=merge(first.residual, second.residual),
        steps=first.steps.index_copy(0, rows, first.steps[rows] + second.steps),
        status=status,
        complete=bool((status == 0).all()),
        solvers=names,
        picked=merge(first.picked, index[second.picked]),
        inverse=second.inverse,
    )
