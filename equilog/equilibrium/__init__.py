"""Finding z*: the solver, its per-sample verdicts, and gradients by the implicit function theorem."""

from equilog.equilibrium.layer import EquilibriumLayer, EquilibriumWarning, NotConvergedError
from equilog.equilibrium.solution import Solution, Status
from equilog.equilibrium.solver import ChordSolver

__all__ = [
    "ChordSolver",
    "EquilibriumLayer",
    "EquilibriumWarning",
    "NotConvergedError",
    "Solution",
    "Status",
]
