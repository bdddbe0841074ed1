"""What an effect is: a draw that stays with the chip, a change at every read, and a switch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.technology.blocks import Crossbar, Polynomial


@dataclass(frozen=True)
class Devices:
    """The conductances of an array on their way from what was asked for to what conducts, in siemens.

    All have the shape ``(…, 2, n, columns)``, G⁺ first; with a population the leading dimension counts chips, and is
    missing as long as nothing differs between them.

    Attributes:
        asked: what the devices were to be programmed to.
        programmed: what they were programmed to.
        now: what they conduct at this stage.
    """

    asked: Tensor
    programmed: Tensor
    now: Tensor

    @classmethod
    def of(cls, g: Tensor) -> Devices:
        """Return devices that conduct exactly what is asked of them."""
        return cls(g, g, g)


class DeviceEffect(ABC):
    """One thing that happens to the conductances between what was asked for and what conducts.

    The netlist counterpart is the same for all of them: its resistors are what the last effect returns.
    """

    name: ClassVar[str]
    """what switches and tables call it"""
    keys: ClassVar[tuple[str, ...]]
    """fields of the technology's crossbar that make it; all of them left out is the switch turned off"""

    def present(self, bar: Crossbar) -> bool:
        """Whether the technology has it."""
        return any(getattr(bar, key) is not None for key in self.keys)

    def sample(self, chip: Chip | Population, shape: torch.Size) -> Tensor | None:
        """Return what is drawn once for the chip's devices of `shape` ``(2, n, columns)``; None if nothing is."""
        return None

    @abstractmethod
    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the devices after the effect, differentiable in what they were before.

        Args:
            devices: before it.
            drawn: from :meth:`sample`, in the dtype of the conductances.
            bar: the technology's crossbar.
            when: the circumstances of the read.
        """

    @classmethod
    def off(cls) -> dict[str, Any]:
        """Return the change of a technology that switches the effect off."""
        return {"crossbar": dict.fromkeys(cls.keys)}


def polynomial(x: Tensor, p: Polynomial) -> Tensor:
    """Return ``Σ cₖ xᵏ`` in siemens."""
    *lower, top = p.coefficients_siemens
    total = torch.full_like(x, top)
    for coefficient in reversed(lower):
        total = torch.addcmul(torch.full_like(x, coefficient), total, x)
    return total
