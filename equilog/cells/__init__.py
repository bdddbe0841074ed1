"""What settles: the maps whose fixed point is wanted, and weights that keep it unique."""

from equilog.cells.activation import Tanh
from equilog.cells.circuit_cell import CircuitCell
from equilog.cells.monotone import MonotoneWeight
from equilog.cells.system import AffineSystem

__all__ = ["AffineSystem", "CircuitCell", "MonotoneWeight", "Tanh"]
