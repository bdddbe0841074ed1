"""Programming error: a device conducts about what was asked for, and relaxes away from it.

Gaussian with a standard deviation that is a polynomial of the target (for RRAM Wan et al., Nature 608 (2022) 504; for
PCM Nandakumar et al., ICECS 2019). Relaxation widens and shifts it between two ages, linearly in ln t; the deviate of
a device stays the same, so a bad device stays bad (an assumption: published figures are population statistics).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices, polynomial
from equilog.hardware.technology.blocks import Crossbar


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
        g = moved = devices.asked
        part = _relaxed(bar, when)
        if part and bar.relaxation is not None and bar.relaxation.shift is not None:
            moved = g + part * polynomial(g / bar.g_max_siemens, bar.relaxation.shift)
        programmed = torch.addcmul(moved, programming_sigma(g, bar, when), drawn).clamp(min=0)
        return Devices(g, programmed, programmed)


def programming_sigma(g: Tensor, bar: Crossbar, when: Conditions) -> Tensor:
    """Return the standard deviation of devices programmed to `g` at the age of the read, in siemens, shape of `g`."""
    x = g / bar.g_max_siemens
    fresh = None if bar.programming_sigma is None else polynomial(x, bar.programming_sigma).clamp(min=0)
    part = _relaxed(bar, when)
    if not part or bar.relaxation is None:
        return torch.zeros_like(g) if fresh is None else fresh
    later = part * polynomial(x, bar.relaxation.sigma).clamp(min=0)
    # Older than the figures reach, the line goes on; it must not fall below zero where σ shrinks with age.
    return later if fresh is None else ((1 - part) * fresh + later).clamp(min=0)


def _relaxed(bar: Crossbar, when: Conditions) -> float:
    """Return how far relaxation has gone, 0 when fresh and 1 at the age of its figures."""
    age = when.age(bar.reference_second)
    if bar.relaxation is None or age <= bar.reference_second:
        return 0.0
    return math.log(age / bar.reference_second) / math.log(bar.relaxation.at_second / bar.reference_second)
