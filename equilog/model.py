"""HybridDEQ: digital parameterization → equilibrium → digital readout, ideal or on a chip."""

from __future__ import annotations

from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.equilibrium.autocast import without_autocast
from equilog.hardware import Chip, Conditions, Population, ProgrammedLayer, program_cell
from equilog.hardware.pairs import Wires
from equilog.hardware.twin import TwinState, dac, static_system


class HybridDEQ(nn.Module):
    """The three layers of a hybrid model.

    ``drive = parameterize(x)`` is computed digitally; the cell settles to ``z*`` under that drive; ``readout(z*)``
    is digital again. Called with a chip, the middle part is that chip's twin, converters included; with a population
    of chips everything behind the DACs has a leading dimension that counts them.

    Args:
        parameterize: any module from inputs to ``(batch, cell.drives)``. End it in Tanh or Hardtanh: the DACs
            clip at ±1.
        cell: what settles.
        readout: any module from ``(batch, cell.states)`` to outputs.
        equilibrium: how it settles; the default solver unless given.
    """

    def __init__(
        self,
        parameterize: nn.Module,
        cell: CircuitCell,
        readout: nn.Module,
        equilibrium: EquilibriumLayer | None = None,
    ) -> None:
        super().__init__()
        self.parameterize = parameterize
        self.cell = cell
        self.readout = readout
        # A monotone weight is rarely a contraction: no time is lost on finding out.
        self.equilibrium = equilibrium or EquilibriumLayer(Auto(probe=False))

    def forward(self, x: Tensor, chip: Chip | Population | ProgrammedLayer | None = None) -> Tensor:
        """Return ``readout(z*)``; ideal without a chip, through the static twin of one with it."""
        return self.readout(self.settle(self.parameterize(x), chip))

    def settle(self, drive: Tensor, chip: Chip | Population | ProgrammedLayer | None = None) -> Tensor:
        """Return ``z*`` of shape ``(batch, n)`` for drives of shape ``(batch, m)``, as the readout receives it.

        ``(chips, batch, n)`` for a population.
        """
        if chip is None:
            settled: Tensor = self.equilibrium(self.cell.system(drive))
            return settled
        return self.on_chip(drive, chip).read

    def on_chip(self, drive: Tensor, chip: Chip | Population | ProgrammedLayer) -> TwinState:
        """Return the equilibrium under drives of shape ``(batch, m)`` on a chip, with all that led there."""
        with without_autocast(drive.device.type):  # what a chip does is not cast
            layer = chip if isinstance(chip, ProgrammedLayer) else self.program(chip)
            drive = drive.to(layer.target.dtype)
            played = dac(layer, drive)
            system = static_system(layer, played)
            return TwinState(layer, drive, played, system, self.equilibrium.rest(system))

    def program(
        self, chip: Chip | Population, conditions: Conditions | None = None, *, wires: Wires = "exact"
    ) -> ProgrammedLayer:
        """Return the cell as this chip holds it, or all chips of a population, as :func:`~equilog.hardware.program`."""
        return program_cell(self.cell, chip, conditions, wires=wires)
