"""Finding z*: solvers, per-sample verdicts, and gradients by the implicit function theorem."""

from equilog.equilibrium.adjoint import AdjointWarning, Exact, Gradient
from equilog.equilibrium.estimators import Neumann, OneStep, Reuse, Watched
from equilog.equilibrium.layer import EquilibriumLayer, EquilibriumWarning, NotConvergedError
from equilog.equilibrium.solution import Solution, Status
from equilog.equilibrium.solvers import (
    Anderson,
    Auto,
    Broyden,
    Chord,
    Newton,
    NewtonKrylov,
    Picard,
    Settle,
    Solver,
)

__all__ = [
    "AdjointWarning",
    "Anderson",
    "Auto",
    "Broyden",
    "Chord",
    "EquilibriumLayer",
    "EquilibriumWarning",
    "Exact",
    "Gradient",
    "Neumann",
    "Newton",
    "NewtonKrylov",
    "NotConvergedError",
    "OneStep",
    "Picard",
    "Reuse",
    "Settle",
    "Solution",
    "Solver",
    "Status",
    "Watched",
]
