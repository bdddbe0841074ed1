"""What an effect is: a draw that stays with the chip, a change at every read, and a switch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.hardware.blocks import Crossbar, Polynomial
from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions


class DeviceEffect(ABC):
    """One thing that happens to the conductances between what was asked for and what conducts.

    Conductances have the shape ``(…, 2, n, columns)``, G⁺ first; with a population the leading dimension counts
    chips, and an effect without a draw of its own leaves it away. The netlist counterpart is the same for all of
    them: its resistors are what the last effect returns.
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
    def forward(self, g: Tensor, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Tensor:
        """Return the conductances after the effect, in siemens, differentiable in `g`.

        Args:
            g: conductances before it.
            drawn: from :meth:`sample`, in the dtype of `g`.
            bar: the technology's crossbar.
            when: the circumstances of the read.
        """

    @classmethod
    def off(cls) -> dict[str, Any]:
        """Return the change of a technology that switches the effect off."""
        return {"crossbar": dict.fromkeys(cls.keys)}


def polynomial(x: Tensor, p: Polynomial) -> Tensor:
    """Return ``Σ cₖ xᵏ`` in siemens."""
    total = torch.zeros_like(x)
    for coefficient in reversed(p.coefficients_siemens):
        total = total * x + coefficient
    return total
