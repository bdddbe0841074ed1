"""The protocol that a machine must speak to run a hybrid model, and what all of ours share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from equilog.cells import Activation, Mixed, Tanh, fixed_of
from equilog.devices.calibration import Calibration
from equilog.hardware import Spec
from equilog.model import HybridDEQ
from equilog.names import UserError


class DeviceError(RuntimeError):
    """A machine answered wrongly, or not at all, or is closed."""


class DeviceTimeoutError(DeviceError):
    """A machine did not answer, or did not come to rest, in the time that it was given."""


@dataclass(frozen=True)
class Settled:
    """What a device reports of a batch at rest, in the model's units.

    Attributes:
        p: pre-activations ``v/V_a``, shape ``(batch, n)``; nan where a machine cannot see them.
        z: states ``s/V_s``, shape ``(batch, n)``.
        read: states as the digital side receives them, through the converter if there is one, calibrated if it was.
    """

    p: Tensor
    z: Tensor
    read: Tensor


class Cell(Protocol):
    """What a device is programmed with: ``p = W φ(p) + U d + b``, ``z = φ(p)``.

    One with a law beside it has that in its attribute `fixed`, a :class:`~equilog.cells.FixedCoupling`: the whole
    equation is :func:`equilog.cells.total_of`, a chip that holds it :func:`equilog.hardware.program_cell`.
    """

    states: int
    drives: int

    @property
    def activation(self) -> Activation:
        """Return φ as the cell means it."""

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``."""


@runtime_checkable
class Device(Protocol):
    """Anything that can be programmed with a cell and settle under a drive. Leaving its ``with`` block closes it."""

    name: str

    def program(self, cell: Cell) -> None:
        """Take over the cell's present weights; raises ``UserError`` naming what does not fit."""

    def settle(self, drive: Tensor) -> Settled:
        """Come to rest under drives of shape ``(batch, m)``; raises ``RuntimeError`` if not programmed."""

    def calibrate(self, drive: Tensor, expected: Tensor) -> Calibration:
        """Settle under known drives and correct later readings by what is found; raises as :meth:`Calibration.fit`."""

    def close(self) -> None:
        """Leave the machine safe and let go of it; closing again does nothing."""

    def __enter__(self) -> Self:
        """Return the device."""

    def __exit__(self, *error: object) -> None:
        """Close it."""


class BaseDevice:
    """Calibration and closing, the same for every device; a subclass ends `settle` in :meth:`corrected`.

    A calibration belongs to the device and outlives programming; set it to None to read plainly again.
    """

    calibration: Calibration | None = None

    def settle(self, drive: Tensor) -> Settled:
        """Come to rest under drives of shape ``(batch, m)``."""
        raise NotImplementedError

    def calibrate(self, drive: Tensor, expected: Tensor) -> Calibration:
        """Settle under known drives, fit a gain and an offset a node, and apply them to later readings.

        Args:
            drive: shape ``(batch, m)``; :func:`~equilog.devices.calibration.spanning_drives` makes some.
            expected: the states z that they should give, shape ``(batch, n)``: of another device, or known otherwise.

        Raises:
            ValueError: as :meth:`Calibration.fit`; the device then keeps the calibration that it had.
        """
        before, self.calibration = self.calibration, None
        try:
            found = Calibration.fit(self.settle(drive).read, expected)
        except BaseException:
            self.calibration = before
            raise
        self.calibration = found
        return found

    def corrected(self, settled: Settled) -> Settled:
        """Return what was read after calibration; `p` and `z` stay what the circuit did."""
        return settled if self.calibration is None else replace(settled, read=self.calibration.apply(settled.read))

    def close(self) -> None:
        """Let go of the machine; there is nothing to do unless a subclass says so."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def check_activation(cell: Cell, spec: Spec) -> None:
    """Raise ``UserError`` if the cell has another activation than its neurons on a chip: it would settle elsewhere.

    Those have tanh or the technology's curve, but for the states that the cell's law has without an activation.
    """
    own = cell.activation
    linear, own = (own.linear, own.of) if isinstance(own, Mixed) else (0, own)
    fixed = fixed_of(cell)
    without = 0 if fixed is None else fixed.linear
    if linear != without:
        raise UserError(
            f"{linear} of the cell's states have no activation, a chip would have {without} such neurons: expected as "
            "many as FixedCoupling(..., linear=...) of the cell says"
        )
    if spec.activation.curve is None and not isinstance(own, Tanh) and linear < cell.states:
        raise UserError(
            f"the cell's activation is {type(own).__name__}, that of technology {spec.name!r} is tanh; "
            "give the technology an activation.curve that is the cell's"
        )


@torch.no_grad()
def run_on(model: HybridDEQ, device: Device, x: Tensor) -> Tensor:
    """Return the model's output with `device` in the place of the equilibrium; it must be programmed.

    The digital ends compute in the precision of the model's own parameters.
    """
    state = device.settle(model.parameterize(x)).read
    return model.readout(state.to(next(model.parameters()).dtype))
