"""The model of a device that gradients go through: a chip of a technology, or no more than the cell's own equation."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from equilog.cells import AffineSystem, CircuitCell
from equilog.hardware import Chip, Conditions, Spec, program_cell
from equilog.hardware.twin import dac, static_system
from equilog.training.adapt.identified_chip import typical_chip

Twin = Spec | Chip | None
"""a technology, of which nothing but the typical chip is known; a chip, drawn or identified; or the ideal cell"""

Equations = Callable[[Tensor], AffineSystem]
"""From drives ``(batch, m)`` to the equation whose resting states ``(batch, n)`` a twin expects under them."""


def equations(cell: CircuitCell, twin: Twin, conditions: Conditions | None = None) -> Equations:
    """Return the resting equations of the cell's present weights on a twin, on the tape in weights and drives.

    Args:
        cell: what the device is programmed with.
        twin: see :data:`Twin`.
        conditions: when and how warm the chip is read; just programmed unless given.
    """
    if twin is None:
        return cell.system
    layer = program_cell(cell, chip_of(twin), conditions)
    return lambda drive: static_system(layer, dac(layer, drive))


def chip_of(twin: Spec | Chip) -> Chip:
    """Return the chip itself, or the typical one of a technology."""
    return typical_chip(twin) if isinstance(twin, Spec) else twin
