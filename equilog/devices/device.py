"""The protocol that a machine must speak to run a hybrid model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ


@dataclass(frozen=True)
class Settled:
    """What a device reports of a batch at rest, in the model's units.

    Attributes:
        p: pre-activations ``v/V_a``, shape ``(batch, n)``.
        z: states ``s/V_s``, shape ``(batch, n)``.
        read: states as the digital side receives them, through the converter if there is one.
    """

    p: Tensor
    z: Tensor
    read: Tensor


class Device(Protocol):
    """Anything that can be programmed with a cell and settle under a drive."""

    name: str

    def program(self, cell: CircuitCell) -> None:
        """Take over the cell's present weights."""

    def settle(self, drive: Tensor) -> Settled:
        """Come to rest under drives of shape ``(batch, m)``; raises ``RuntimeError`` if not programmed."""


@torch.no_grad()
def run_on(model: HybridDEQ, device: Device, x: Tensor) -> Tensor:
    """Return the model's output with `device` in the place of the equilibrium; it must be programmed.

    The digital ends compute in the precision of the model's own parameters.
    """
    state = device.settle(model.parameterize(x)).read
    return model.readout(state.to(next(model.parameters()).dtype))
