"""The ideal equilibrium, solved on a digital computer."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.cells import Activation, AffineSystem, total_of
from equilog.devices.device import BaseDevice, Cell, Settled
from equilog.equilibrium import EquilibriumLayer


class DigitalDevice(BaseDevice):
    """Solves the cell's own equation in float64; no converter, no chip."""

    name = "ideal"

    def __init__(self) -> None:
        self._equilibrium = EquilibriumLayer(on_failure="raise")
        self._matrices: tuple[Tensor, Tensor, Tensor] | None = None
        self._activation: Activation

    @torch.no_grad()
    def program(self, cell: Cell) -> None:
        """Take over the cell's weights, and its law if it has one, in double precision."""
        weight, input_weight, bias = (m.double() for m in total_of(cell))
        self._matrices, self._activation = (weight, input_weight, bias), cell.activation

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Return the solution of ``p = Wφ(p) + Ud + b``."""
        if self._matrices is None:
            raise RuntimeError("program the device before settling")
        weight, input_weight, bias = self._matrices
        system = AffineSystem(weight, drive.double() @ input_weight.T + bias, self._activation)
        p = self._equilibrium.rest(system)
        z = system.activation(p)
        return self.corrected(Settled(p, z, z))
