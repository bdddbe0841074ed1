"""The solvers, one algorithm a file: data and four verbs each; the loop they run in exists once."""

from equilog.equilibrium.solvers.anderson import Anderson
from equilog.equilibrium.solvers.auto import Auto
from equilog.equilibrium.solvers.base import Solver
from equilog.equilibrium.solvers.broyden import Broyden
from equilog.equilibrium.solvers.chord import Chord
from equilog.equilibrium.solvers.newton import Newton, NewtonKrylov
from equilog.equilibrium.solvers.picard import Picard
from equilog.equilibrium.solvers.settle import Settle

__all__ = ["Anderson", "Auto", "Broyden", "Chord", "Newton", "NewtonKrylov", "Picard", "Settle", "Solver"]
