"""A trained layer as a board of parts one can buy: bill of materials, netlist for KiCad, drawings."""

from equilog.circuit.board.design import Board, Component, design
from equilog.circuit.board.write import write_board

__all__ = ["Board", "Component", "design", "write_board"]
