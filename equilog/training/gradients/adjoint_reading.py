"""The gradient read off the adjoint circuit: the chip's own array, driven from its other side.

λ is where that circuit rests, see :mod:`equilog.circuit.adjoint`; outer products with the measured states are digital.
No symmetry is needed and mismatch is no bias: the transposed array has the same devices. What is not the same are the
amplifiers' loads, undone where `calibrated`. The slopes are taken where the twin says that the chip rests.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.circuit.adjoint import adjoint_gradient, adjoint_twin, assemble
from equilog.circuit.ngspice import Ngspice
from equilog.devices import Cell, Device
from equilog.hardware import ProgrammedLayer
from equilog.hardware.twin import dac
from equilog.names import UserError
from equilog.training.gradients.source import CellGradient, PlainSource


@dataclass(frozen=True)
class AdjointReading(PlainSource):
    """The adjoint circuit as a source of gradients, on devices that are a programmed chip: twin and ngspice.

    The gradients are those of the weights that the chip realises, as :func:`equilog.circuit.adjoint.assemble` makes
    them; the drive's goes through the chip's own U, whose columns the transposed array reads as well.

    Attributes:
        calibrated: see :func:`equilog.circuit.adjoint.adjoint_circuit`.
        simulator: ngspice, to measure λ at its operating points; from the circuit's equations unless given.
        amplitude: the largest entry of g as it is played, in units of V_a.
    """

    calibrated: bool = True
    simulator: Ngspice | None = None
    amplitude: float = 0.1

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"adjoint circuit, {'calibrated' if self.calibrated else 'plain'}"

    def program(self, device: Device, cell: Cell) -> None:
        """Program the device; raises ``UserError`` if its crossbar cannot be driven from the other side."""
        device.program(cell)
        _layer_of(device)

    @torch.no_grad()
    def gradient(self, device: Device, cell: Cell, drive: Tensor, z: Tensor, g: Tensor) -> CellGradient:
        """Return what λ makes with the measured states; raises as :func:`equilog.circuit.adjoint.adjoint_gradient`."""
        layer = _layer_of(device).to(torch.float64)
        played, g = dac(layer, drive.double()), g.double()
        if self.simulator is None:
            lam = adjoint_twin(layer, played, g, calibrated=self.calibrated, amplitude=self.amplitude)
        else:
            lam = adjoint_gradient(
                layer, played, g, self.simulator, calibrated=self.calibrated, amplitude=self.amplitude
            )
        made = assemble(layer, played, z.double(), lam)
        return CellGradient(made.weight, made.input_weight, made.bias, made.drive)


def _layer_of(device: Device) -> ProgrammedLayer:
    layer = getattr(device, "layer", None)
    if not isinstance(layer, ProgrammedLayer):
        raise UserError(
            f"device {device.name!r} has no crossbar that can be driven from its other side: the adjoint circuit is "
            "there for TwinDevice and NgspiceDevice"
        )
    return layer
