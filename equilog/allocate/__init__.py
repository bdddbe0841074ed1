"""Which part of a network runs where: the analog–digital split as an optimisation problem, solved, proven and run."""

from equilog.allocate.allocation import Allocation, Outcome, allocate
from equilog.allocate.candidates import Capacity
from equilog.allocate.problem import Limits
from equilog.allocate.programme import Infeasible

__all__ = ["Allocation", "Capacity", "Infeasible", "Limits", "Outcome", "allocate"]
