"""A circuit-constrained cell with a DAC for every node and nothing dense but what its recurrent weight makes so."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from equilog.cells.circuit_cell import CircuitCell


class PlacedWeight(Protocol):
    """A recurrent weight that says where it can be other than zero."""

    n: int
    margin: float

    @property
    def populated(self) -> Tensor:
        """Bool, ``(n, n)``."""


class NodeDrivenCell(CircuitCell):
    """``p = W φ(p) + diag(u) d + b``: node i has a drive of its own.

    Args:
        recurrent: makes W; a chip has devices where it says.
    """

    def __init__(self, recurrent: PlacedWeight) -> None:
        assert isinstance(recurrent, nn.Module)
        super().__init__(recurrent.n, recurrent.n, margin=recurrent.margin, recurrent=recurrent)
        del self.input_weight  # the dense one
        self.gain = nn.Parameter(torch.ones(recurrent.n))

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, n)``, which is diagonal, and ``b (n,)``."""
        return self.recurrent(), torch.diag(self.gain), self.bias

    @property
    def populated(self) -> Tensor:
        """Where a chip has devices: those of W, a node's own drive and its bias, bool, ``(n, 2n + 1)``."""
        where = super().populated
        assert where is not None
        where[:, self.states : -1] = torch.eye(self.states, dtype=torch.bool)
        return where
