"""Drift: conductances fall with a power of time, each device with an exponent of its own.

``G(t) = G (t/t₀)^−ν``, ν = |mean(x) + σ(x) ξ| with x = G/G_max as asked for: structural relaxation of phase-change
memory, Nandakumar et al., ICECS 2019, doi:10.1109/ICECS46596.2019.8964852.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices
from equilog.hardware.technology.blocks import ClampedLog, Crossbar


class PowerLawDrift(DeviceEffect):
    """``G (t/t₀)^−ν``."""

    name = "drift"
    keys = ("drift",)

    def sample(self, chip: Chip | Population, shape: torch.Size) -> Tensor:
        """Return the standard normal ξ of every device's exponent."""
        return chip.standard_normal("crossbar.drift", *shape)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the conductances at the age of the read; unchanged at t₀."""
        assert bar.drift is not None
        assert drawn is not None
        g = devices.now
        ratio = when.age(bar.reference_second) / bar.reference_second
        if ratio == 1:
            return devices
        # Nothing was asked of a device at zero, and ln 0 has no gradient.
        asked = devices.asked / bar.g_max_siemens
        log_x = torch.where(asked > 0, asked, 1.0).log()
        mean, sigma = (clamped_log(log_x, law) for law in (bar.drift.exponent_mean, bar.drift.exponent_sigma))
        exponent = torch.addcmul(mean, sigma, drawn).abs()
        return replace(devices, now=g * torch.exp(-math.log(ratio) * exponent))


def clamped_log(log_x: Tensor, law: ClampedLog) -> Tensor:
    """Return ``clamp(slope · ln x + intercept, low, high)`` given ``ln x``."""
    return (law.slope * log_x + law.intercept).clamp(law.low, law.high)
