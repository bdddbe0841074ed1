"""A chip's static twin as a device."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.devices.device import BaseDevice, Cell, Settled, check_activation
from equilog.hardware import Chip, Conditions, ProgrammedLayer, program_cell
from equilog.hardware.rest import Stability, at_rest
from equilog.hardware.twin import adc, dac


class TwinDevice(BaseDevice):
    """Where the twin says that this chip rests, in float64, converters included.

    Args:
        chip: the chip.
        conditions: when, how warm and with which noise it is read; just programmed unless given.
        stability: of which samples the poles are looked at, see :func:`equilog.hardware.rest.at_rest`.
    """

    name = "twin"

    def __init__(self, chip: Chip, conditions: Conditions | None = None, *, stability: Stability = "steepest") -> None:
        self.chip, self.conditions, self.stability = chip, conditions, stability
        self._layer: ProgrammedLayer | None = None

    @property
    def layer(self) -> ProgrammedLayer:
        """The programmed chip; raises ``RuntimeError`` before :meth:`program`."""
        if self._layer is None:
            raise RuntimeError("program the device before settling")
        return self._layer

    @torch.no_grad()
    def program(self, cell: Cell) -> None:
        """Program the chip with the cell's weights; raises ``UserError`` if the activation is another one."""
        check_activation(cell, self.chip.spec)
        self._layer = program_cell(cell, self.chip, self.conditions, dtype=torch.float64)

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Return the twin's resting point under the drive as the DACs play it; raises as :func:`at_rest` does."""
        rest = at_rest(self.layer, dac(self.layer, drive.double()), stability=self.stability)
        return self.corrected(Settled(rest.p, rest.z, adc(self.layer, rest.z)))
