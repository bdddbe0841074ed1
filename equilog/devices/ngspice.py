"""A chip's netlist in ngspice as a device."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from equilog import circuit
from equilog.cells import CircuitCell
from equilog.circuit.ngspice import Ngspice, find_ngspice
from equilog.devices.device import Settled
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip, ProgrammedLayer
from equilog.hardware.twin import adc, dac


class NgspiceDevice:
    """Settles the chip's circuit in the simulator, one operating point a sample.

    The analog part is ngspice's alone; DAC and ADC are the ideal quantisers of the twin at its ends.

    Args:
        chip: the chip.
        simulator: the one on this machine unless given.
        folder: keep the circuit here; a temporary folder otherwise.

    Raises:
        NgspiceMissingError: if no simulator is found.
    """

    name = "ngspice"

    def __init__(self, chip: Chip, simulator: Ngspice | None = None, folder: Path | None = None) -> None:
        self.simulator = simulator or find_ngspice()
        self.folder = folder
        self._programmer = TwinDevice(chip)

    @property
    def layer(self) -> ProgrammedLayer:
        """The programmed chip; raises ``RuntimeError`` before :meth:`program`."""
        return self._programmer.layer

    def program(self, cell: CircuitCell) -> None:
        """Program the chip: the same conductances as the twin of the same seed."""
        self._programmer.program(cell)

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Return the resting node voltages that ngspice finds, in the model's units."""
        layer = self.layer
        played = dac(layer, drive.double())
        with tempfile.TemporaryDirectory(prefix="equilog-circuit-") as scratch:
            folder = self.folder or Path(scratch)
            circuit.write_circuit(layer, folder, rest=played)
            v, s = circuit.rest(self.simulator, folder, layer.states, len(played))
        z = s / float(layer.spec.activation.v_out_volt)
        return Settled(v / float(layer.spec.activation.v_scale_volt), z, adc(layer, z))
