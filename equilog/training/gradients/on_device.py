"""A hybrid model with a device in the place of its equilibrium, trained by whatever source of gradients it has."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from equilog.devices import Device
from equilog.model import HybridDEQ
from equilog.training.gradients.fixed_cell import FixedCell
from equilog.training.gradients.source import GradientSource, check_loss_gradient


class OnDevice(nn.Module):
    """``readout(device(parameterize(x)))``, differentiable: parameterization and readout by autograd, W, U, b and the
    drive by the source, and what makes W by autograd again.

    Its parameters are the model's: any optimiser trains it as it trains the model. The device is programmed anew
    whenever weights have changed.

    Args:
        model: what to train.
        device: where its cell settles.
        source: how gradients come back.
    """

    def __init__(self, model: HybridDEQ, device: Device, source: GradientSource) -> None:
        super().__init__()
        self.model, self.device, self.source = model, device, source
        self._held: FixedCell | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's output for inputs ``(batch, …)``."""
        output: Tensor = self.model.readout(self.settle(self.model.parameterize(x)))
        return output

    def settle(self, drive: Tensor) -> Tensor:
        """Return the states as read, shape ``(batch, n)``, on the tape, for drives of shape ``(batch, m)``."""
        z: Tensor = _Measured.apply(drive, *self.model.cell.matrices(), FixedCell.of(self.model.cell), self)
        return z

    def hold(self, cell: FixedCell) -> None:
        """Make sure that the device is programmed with these weights."""
        if self._held is None or not self._held.holds(cell):
            self._held = None  # a device that fails halfway holds nothing that is known
            self.source.program(self.device, cell)
            self._held = cell


class _Measured(Function):
    """States measured forward; backward asks the source."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, weight: Tensor, input_weight: Tensor, bias: Tensor, cell: FixedCell, on: OnDevice
    ) -> Tensor:
        on.hold(cell)
        z = on.source.settle(on.device, cell, drive).to(drive)
        ctx.cell, ctx.on, ctx.dtype = cell, on, weight.dtype
        ctx.save_for_backward(drive, z)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        drive, z = ctx.saved_tensors
        check_loss_gradient(g, z)
        ctx.on.hold(ctx.cell)  # weights may have moved on between forward and backward
        found = ctx.on.source.gradient(ctx.on.device, ctx.cell, drive, z, g)
        weights = (m.to(ctx.dtype) for m in (found.weight, found.input_weight, found.bias))
        return found.drive.to(drive), *weights, None, None
