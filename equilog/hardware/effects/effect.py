"""What an effect is: a draw that stays with the chip, a change at every read, and a switch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.technology.blocks import Crossbar, Polynomial

Slope = Tensor | float | None
TINY = 1e-30
"""of G_max: stands for a conductance of zero where a logarithm is taken"""


@dataclass(frozen=True)
class Devices:
    """The conductances of an array on their way from what was asked for to what conducts, in siemens.

    All have the shape ``(…, 2, n, columns)``, G⁺ first; with a population the leading dimension counts chips, and is
    missing as long as nothing differs between them.

    Attributes:
        asked: what the devices were to be programmed to.
        programmed: what they were programmed to.
        now: what they conduct at this stage.
        slope: derivative of `now` with respect to `asked`, shaped like it or a number; None if nobody wants it.
        programmed_slope: that of `programmed`.
    """

    asked: Tensor
    programmed: Tensor
    now: Tensor
    slope: Slope = None
    programmed_slope: Slope = None

    @classmethod
    def of(cls, g: Tensor, slopes: bool = False) -> Devices:
        """Return devices that conduct exactly what is asked of them."""
        one = 1.0 if slopes else None
        return cls(g, g, g, one, one)

    def rounded(self, g: Tensor) -> Devices:
        """Return devices that are asked for `g` instead, to which slopes pass straight through."""
        return replace(self, asked=g, programmed=g, now=g)


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
        """Return the devices after the effect, differentiable in what they were before; their slopes too, if wanted.

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


def line(x: Tensor, slope: float, at_zero: float) -> Tensor:
    """Return ``at_zero + slope · x`` in the two cheapest passes there are for it."""
    return torch.add(torch.full_like(x, at_zero), x, alpha=slope)


def polynomial(x: Tensor, p: Polynomial) -> Tensor:
    """Return ``Σ cₖ xᵏ`` in siemens."""
    return _horner(x, p.coefficients_siemens)


def polynomial_slope(x: Tensor, p: Polynomial) -> Tensor:
    """Return ``Σ k cₖ xᵏ⁻¹``, its derivative."""
    return _horner(x, tuple(k * c for k, c in enumerate(p.coefficients_siemens))[1:] or (0.0,))


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    *lower, top = coefficients
    if not lower:
        return torch.full_like(x, top)
    total = line(x, top, lower.pop())
    while lower:
        total = torch.addcmul(torch.full_like(x, lower.pop()), total, x)
    return total


def where_positive(slope: Tensor, value: Tensor) -> Tensor:
    """Return the slope of ``max(value, 0)`` given that of the value; one fused pass."""
    return torch.ops.aten.threshold_backward(slope, value, 0)
