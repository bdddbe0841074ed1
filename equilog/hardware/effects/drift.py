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
from equilog.hardware.effects.effect import TINY, DeviceEffect, Devices, line
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
        ratio = when.age(bar.reference_second) / bar.reference_second
        if ratio == 1:
            return devices
        # Nothing was asked of a device at zero, where ln has no value; laws are clamped long before.
        asked = devices.asked.clamp(min=TINY * bar.g_max_siemens)
        log_g, g_max = torch.log(asked), float(bar.g_max_siemens)
        wanted = devices.slope is not None
        mean, mean_rises = _clamped_log(log_g, g_max, bar.drift.exponent_mean, wanted)
        sigma, sigma_rises = _clamped_log(log_g, g_max, bar.drift.exponent_sigma, wanted)
        exponent = torch.addcmul(mean, sigma, drawn)
        kept = torch.exp2(exponent.abs() * -math.log2(ratio))  # much faster than exp
        now = devices.now * kept
        if mean_rises is None or sigma_rises is None or devices.slope is None:
            return replace(devices, now=now)
        # d now = d now₀ · kept − now ln(t/t₀) sign(ν) dν/d(ln G) dG/G
        rises = torch.addcmul(mean_rises, sigma_rises, drawn)
        faster = rises.mul(exponent.sign()).div(asked)
        return replace(devices, now=now, slope=torch.addcmul(kept * devices.slope, now, faster, value=-math.log(ratio)))


def clamped_log(log_x: Tensor, law: ClampedLog) -> Tensor:
    """Return ``clamp(slope · ln x + intercept, low, high)`` given ``ln x``."""
    return _clamped_log(log_x, 1.0, law, False)[0]


def _clamped_log(log_g: Tensor, g_max: float, law: ClampedLog, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """Return ``clamp(slope · ln(G/G_max) + intercept, low, high)`` and, if wanted, its derivative by ln G."""
    value = line(log_g, law.slope, law.intercept - law.slope * math.log(g_max))
    clamped = value.clamp(law.low, law.high)
    if not wanted:
        return clamped, None
    return clamped, torch.ops.aten.hardtanh_backward(torch.full_like(value, law.slope), value, law.low, law.high)
