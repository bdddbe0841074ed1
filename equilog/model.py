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

    What settles is a row of drives. Most models make one of a sample; one for sequences makes one a position: `rows` of
    them, which settle one after the other on a chip and know nothing of each other. The rows of a batch lie one sample
    after the other, so wherever something counts what settles, ``batch`` stands for ``samples · rows``.

    Args:
        parameterize: any module from inputs to ``(samples · rows, cell.drives)``. End it in Tanh or Hardtanh: the DACs
            clip at ±1.
        cell: what settles.
        readout: any module from ``(samples · rows, cell.states)`` to outputs, one a sample.
        equilibrium: how it settles; the default solver unless given.
        rows: how many rows of drives a sample has.

    Raises:
        ValueError: for less than one row.
    """

    def __init__(
        self,
        parameterize: nn.Module,
        cell: CircuitCell,
        readout: nn.Module,
        equilibrium: EquilibriumLayer | None = None,
        *,
        rows: int = 1,
    ) -> None:
        super().__init__()
        if rows < 1:
            raise ValueError(f"rows = {rows}: expected at least one equilibrium a sample")
        self.rows = rows
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


def samples_at_once(model: nn.Module, rows: int) -> int:
    """Return how many samples of a model, at least one, have at most so many rows; any other module has one a sample.

    For whoever takes samples in parts: the memory that a part needs goes with its rows.
    """
    return max(1, rows // (model.rows if isinstance(model, HybridDEQ) else 1))
