"""Programming error: a device conducts about what was asked for, and relaxes away from it.

Gaussian with a standard deviation that is a polynomial of the target (for RRAM Wan et al., Nature 608 (2022) 504; for
PCM Nandakumar et al., ICECS 2019). Relaxation widens and shifts it between two ages, linearly in ln t; the deviate of
a device stays the same, so a bad device stays bad (an assumption: published figures are population statistics).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices, line, polynomial, polynomial_slope, where_positive
from equilog.hardware.technology.blocks import Crossbar, Polynomial


class ProgrammingError(DeviceEffect):
    """``G + σ(G, t) ξ + shift(G, t)``, never below zero."""

    name = "programming-error"
    keys = ("programming_sigma", "relaxation")

    def sample(self, chip: Chip | Population, shape: torch.Size) -> Tensor:
        """Return the standard normal ξ of every device."""
        return chip.standard_normal("crossbar.programming", *shape)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the conductances as programmed, and relaxed if some time has passed."""
        assert drawn is not None
        g = devices.asked
        x = g / bar.g_max_siemens
        wanted = devices.slope is not None
        sigma, rises = _sigma(x, bar, when, wanted)
        part = _relaxed(bar, when)
        shift = bar.relaxation.shift if part and bar.relaxation is not None else None
        moved = g if shift is None else torch.add(g, polynomial(x, shift), alpha=part)
        programmed = torch.addcmul(moved, sigma, drawn).clamp(min=0)
        if rises is None:
            return replace(devices, programmed=programmed, now=programmed)
        slope = torch.mul(rises, drawn)
        if shift is not None:
            slope = torch.add(slope, polynomial_slope(x, shift), alpha=part)
        slope = where_positive(line(slope, 1 / bar.g_max_siemens, 1.0), programmed)
        return Devices(g, programmed, programmed, slope, slope)


def programming_sigma(g: Tensor, bar: Crossbar, when: Conditions) -> Tensor:
    """Return the standard deviation of devices programmed to `g` at the age of the read, in siemens, shape of `g`."""
    return _sigma(g / bar.g_max_siemens, bar, when, False)[0]


def _sigma(x: Tensor, bar: Crossbar, when: Conditions, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """Return the standard deviation at x = G/G_max and, if wanted, its derivative with respect to x."""
    part = _relaxed(bar, when)
    sigma, slope = _never_negative(x, bar.programming_sigma, wanted)
    if not part or bar.relaxation is None:
        return sigma, slope
    later, later_slope = _never_negative(x, bar.relaxation.sigma, wanted)
    if bar.programming_sigma is None:
        return later * part, None if later_slope is None else later_slope * part
    # Older than the figures reach, the line goes on; it must not fall below zero where σ shrinks with age.
    sigma = torch.lerp(sigma, later, part).clamp(min=0)
    if slope is None or later_slope is None:
        return sigma, None
    return sigma, where_positive(torch.lerp(slope, later_slope, part), sigma)


def _never_negative(x: Tensor, law: Polynomial | None, wanted: bool) -> tuple[Tensor, Tensor | None]:
    if law is None:
        return torch.zeros_like(x), torch.zeros_like(x) if wanted else None
    value = polynomial(x, law).clamp(min=0)
    return value, where_positive(polynomial_slope(x, law), value) if wanted else None


def _relaxed(bar: Crossbar, when: Conditions) -> float:
    """Return how far relaxation has gone, 0 when fresh and 1 at the age of its figures."""
    age = when.age(bar.reference_second)
    if bar.relaxation is None or age <= bar.reference_second:
        return 0.0
    return math.log(age / bar.reference_second) / math.log(bar.relaxation.at_second / bar.reference_second)
