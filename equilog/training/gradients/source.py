"""What all ways share: a gradient of a cell, and the protocol of what obtains one from a device.

The loss is digital and reads the measured states, so ``g = ∂L/∂z`` is known exactly once they are. What is asked of the
machine is the rest of the chain: how the equilibrium moves with weights and drives. By the implicit function theorem,
with D = φ'(p*),

    λ = ∂L/∂u = (D⁻¹ − Wᵀ)⁻¹ g,      ∂L/∂W = λ z*ᵀ,  ∂L/∂U = λ dᵀ,  ∂L/∂b = λ,  ∂L/∂d = Uᵀλ.

All gradients are those of the converters' straight-through twins: rounding passes them, and a drive is taken to lie
within the DACs' range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from equilog.cells import total_of
from equilog.cells.circuit_cell import check_drive
from equilog.devices import Cell, Device

LossGradient = Callable[[Tensor], Tensor]
"""From measured states of shape ``(batch, n)`` to ∂L/∂z there, same shape."""


@dataclass(frozen=True)
class CellGradient:
    """Gradients of a loss with respect to what a cell is made of; float64, no graph.

    Attributes:
        weight: ∂L/∂W, shape ``(n, n)``, summed over the batch.
        input_weight: ∂L/∂U, shape ``(n, m)``, likewise.
        bias: ∂L/∂b, shape ``(n,)``, likewise.
        drive: ∂L/∂d, shape ``(batch, m)``.
    """

    weight: Tensor
    input_weight: Tensor
    bias: Tensor
    drive: Tensor


@runtime_checkable
class GradientSource(Protocol):
    """A way to obtain gradients from a device. Without state between calls: the device holds what was programmed."""

    @property
    def name(self) -> str:
        """What tables call it, settings included."""

    def program(self, device: Device, cell: Cell) -> None:
        """Program the device with the cell and what this way adds to it; raises ``UserError`` if it cannot serve."""

    def settle(self, device: Device, cell: Cell, drive: Tensor) -> Tensor:
        """Return the states as read, shape ``(batch, n)``, under drives of shape ``(batch, m)``."""

    def gradient(self, device: Device, cell: Cell, drive: Tensor, z: Tensor, g: Tensor) -> CellGradient:
        """Return the gradients on a device that :meth:`program` programmed with this cell.

        Args:
            device: leaves programmed as it came.
            cell: what it holds.
            drive: shape ``(batch, m)``.
            z: what :meth:`settle` returned for it, shape ``(batch, n)``.
            g: ∂L/∂z there, same shape.
        """


class PlainSource:
    """For ways that add nothing to a cell."""

    def program(self, device: Device, cell: Cell) -> None:
        """Program the device with the cell."""
        device.program(cell)

    def settle(self, device: Device, cell: Cell, drive: Tensor) -> Tensor:
        """Return the states as read."""
        return device.settle(drive).read


@torch.no_grad()
def measure(
    source: GradientSource, device: Device, cell: Cell, drive: Tensor, loss_gradient: LossGradient
) -> CellGradient:
    """Program, settle and measure a gradient: all of it for one batch.

    Args:
        source: how.
        device: where; it stays programmed with what the source made of the cell.
        cell: with which weights.
        drive: shape ``(batch, m)``.
        loss_gradient: from the measured states to ∂L/∂z.

    Raises:
        ValueError: for shapes that do not fit, or a loss gradient that is not finite.
        UserError: if the source cannot serve this cell or this device.
    """
    check_drive(drive, cell.drives)
    source.program(device, cell)
    z = source.settle(device, cell, drive)
    g = loss_gradient(z)
    check_loss_gradient(g, z)
    return source.gradient(device, cell, drive, z, g)


def check_loss_gradient(g: Tensor, z: Tensor) -> None:
    """Raise ``ValueError`` unless g is finite and shaped like the states."""
    if g.shape != z.shape:
        raise ValueError(f"the loss gradient has shape {tuple(g.shape)}, expected {tuple(z.shape)}: one row a sample")
    if not bool(g.isfinite().all()):
        sample, state = (int(k) for k in (~g.isfinite()).nonzero()[0])
        raise ValueError(f"the loss gradient of state {state}, sample {sample}, is {float(g[sample, state])}")


def outer_products(cell: Cell, drive: Tensor, z: Tensor, lam: Tensor) -> CellGradient:
    """Return the gradients that λ makes with states and drives; U as the cell means it."""
    lam, drive = lam.double(), drive.double()
    _, input_weight, _ = total_of(cell)
    return CellGradient(lam.T @ z.double(), lam.T @ drive, lam.sum(0), lam @ input_weight.detach().double())
