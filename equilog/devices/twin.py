"""A chip's static twin as a device."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.cells import CircuitCell
from equilog.devices.device import Settled
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, ProgrammedLayer, program
from equilog.hardware.twin import adc, dac, static_system


class TwinDevice:
    """Where the twin says that this chip rests, in float64, converters included.

    Args:
        chip: the chip.
    """

    name = "twin"

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self._equilibrium = EquilibriumLayer(on_failure="raise")
        self._layer: ProgrammedLayer | None = None

    @property
    def layer(self) -> ProgrammedLayer:
        """The programmed chip; raises ``RuntimeError`` before :meth:`program`."""
        if self._layer is None:
            raise RuntimeError("program the device before settling")
        return self._layer

    @torch.no_grad()
    def program(self, cell: CircuitCell) -> None:
        """Program the chip with the cell's weights."""
        weight, input_weight, bias = (m.double() for m in cell.matrices())
        self._layer = program((weight, input_weight, bias), self.chip)

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Return the twin's resting point under the drive as the DACs play it."""
        system = static_system(self.layer, dac(self.layer, drive.double()))
        p = self._equilibrium.rest(system)
        z = system.activation(p)
        return Settled(p, z, adc(self.layer, z))
