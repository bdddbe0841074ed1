"""Drift: conductances fall with a power of time, each device with an exponent of its own.

``G(t) = G (t/t₀)^−ν``, ν = |mean(x) + σ(x) ξ| with x = G/G_max: structural relaxation of phase-change memory,
Nandakumar et al., ICECS 2019, doi:10.1109/ICECS46596.2019.8964852.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.hardware.blocks import ClampedLog, Crossbar
from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect


class PowerLawDrift(DeviceEffect):
    """``G (t/t₀)^−ν``."""

    name = "drift"
    keys = ("drift",)

    def sample(self, chip: Chip | Population, shape: torch.Size) -> Tensor:
        """Return the standard normal ξ of every device's exponent."""
        return chip.standard_normal("crossbar.drift", *shape)

    def forward(self, g: Tensor, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Tensor:
        """Return the conductances at the age of the read; unchanged at t₀."""
        assert bar.drift is not None
        assert drawn is not None
        ratio = when.age(bar.reference_second) / bar.reference_second
        if ratio == 1:
            return g
        # A device that does not conduct has nothing to drift, and ln 0 no gradient.
        conducts = g > 0
        log_x = torch.where(conducts, g / bar.g_max_siemens, 1.0).log()
        exponent = (
            clamped_log(log_x, bar.drift.exponent_mean) + clamped_log(log_x, bar.drift.exponent_sigma) * drawn
        ).abs()
        return torch.where(conducts, g * ratio**-exponent, g)


def clamped_log(log_x: Tensor, law: ClampedLog) -> Tensor:
    """Return ``clamp(slope · ln x + intercept, low, high)`` given ``ln x``."""
    return (law.slope * log_x + law.intercept).clamp(law.low, law.high)
