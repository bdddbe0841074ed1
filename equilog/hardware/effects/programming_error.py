"""Programming error: a device conducts about what was asked for, and relaxes away from it.

Gaussian with a standard deviation that is a polynomial of the target (for RRAM Wan et al., Nature 608 (2022) 504; for
PCM Nandakumar et al., ICECS 2019). Relaxation widens and shifts it between two ages, linearly in ln t; the deviate of
a device stays the same, so a bad device stays bad (an assumption: published figures are population statistics).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.hardware.blocks import Crossbar
from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, polynomial


class ProgrammingError(DeviceEffect):
    """``G + σ(G, t) ξ + shift(G, t)``, never below zero."""

    name = "programming-error"
    keys = ("programming_sigma", "relaxation")

    def sample(self, chip: Chip | Population, shape: torch.Size) -> Tensor:
        """Return the standard normal ξ of every device."""
        return chip.standard_normal("crossbar.programming", *shape)

    def forward(self, g: Tensor, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Tensor:
        """Return the conductances as programmed, and relaxed if some time has passed."""
        assert drawn is not None
        x = g / bar.g_max_siemens
        sigma = torch.zeros_like(g)
        if bar.programming_sigma is not None:
            sigma = polynomial(x, bar.programming_sigma).clamp(min=0)
        moved = g
        if (later := bar.relaxation) is not None and (age := when.age(bar.reference_second)) > bar.reference_second:
            part = math.log(age / bar.reference_second) / math.log(later.at_second / bar.reference_second)
            sigma = (1 - part) * sigma + part * polynomial(x, later.sigma).clamp(min=0)
            if later.shift is not None:
                moved = g + part * polynomial(x, later.shift)
        return (moved + sigma.clamp(min=0) * drawn).clamp(min=0)
