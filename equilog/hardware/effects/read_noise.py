"""Read noise: every read finds slightly other conductances, frozen while the circuit settles.

1/f noise seen from a read of duration t_r at age t: ``σ = G min(q x^−e, cap) √ln((t + t_r)/(2 t_r))``, Nandakumar et
al., ICECS 2019, doi:10.1109/ICECS46596.2019.8964852; or a plain polynomial σ(x). Both add in power.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices, polynomial
from equilog.hardware.technology.blocks import Crossbar


class DeviceReadNoise(DeviceEffect):
    """``G + σ(G, t) ξ`` with a new ξ for every read; nothing for a noiseless one. Never below zero."""

    name = "read-noise"
    keys = ("read_noise",)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the conductances of one read."""
        if when.reads is None:
            return devices
        g = devices.now
        white = torch.randn(g.shape, generator=when.reads, dtype=g.dtype)
        return replace(devices, now=torch.addcmul(g, read_sigma(g, devices.programmed, bar, when), white).clamp(min=0))


def read_sigma(g: Tensor, programmed: Tensor, bar: Crossbar, when: Conditions) -> Tensor:
    """Return the standard deviation of a read of conductances `g` in siemens, shape of `g`.

    What share of itself a device fluctuates by depends on the state it was programmed to.
    """
    assert bar.read_noise is not None
    x = programmed / bar.g_max_siemens
    parts = []
    if (law := bar.read_noise.sigma) is not None:
        parts.append(polynomial(x, law).clamp(min=0))
    if (flicker := bar.read_noise.flicker) is not None:
        t_read, age = float(flicker.read_second), when.age(bar.reference_second)
        grown = math.sqrt(max(0.0, math.log((age + t_read) / (2 * t_read))))
        conducts = x > 0  # x^-e has no value at zero, where there is nothing to fluctuate
        share = (flicker.coefficient * torch.where(conducts, x, 1.0) ** -float(flicker.exponent)).clamp(max=flicker.cap)
        parts.append(torch.where(conducts, g * share * grown, 0.0))
    return parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts), dim=0)
