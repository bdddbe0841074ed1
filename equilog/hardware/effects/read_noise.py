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
from equilog.hardware.effects.effect import (
    TINY,
    DeviceEffect,
    Devices,
    line,
    polynomial,
    polynomial_slope,
    where_positive,
)
from equilog.hardware.technology.blocks import Crossbar, Flicker, Polynomial


class DeviceReadNoise(DeviceEffect):
    """``G + σ(G, t) ξ`` with a new ξ for every read; nothing for a noiseless one. Never below zero."""

    name = "read-noise"
    keys = ("read_noise",)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the conductances of one read."""
        if when.reads is None:
            return devices
        g, slope = devices.now, devices.slope
        white = torch.randn(g.shape, generator=when.reads, dtype=g.dtype)
        sigma, rises = _sigma(devices, bar, when)
        now = torch.addcmul(g, sigma, white).clamp(min=0)
        if slope is None or rises is None:
            return replace(devices, now=now)
        return replace(devices, now=now, slope=where_positive(torch.mul(rises, white).add_(slope), now))


def read_sigma(g: Tensor, programmed: Tensor, bar: Crossbar, when: Conditions) -> Tensor:
    """Return the standard deviation of a read of conductances `g` in siemens, shape of `g`.

    What share of itself a device fluctuates by depends on the state it was programmed to.
    """
    return _sigma(Devices(programmed, programmed, g), bar, when)[0]


def _sigma(devices: Devices, bar: Crossbar, when: Conditions) -> tuple[Tensor, Tensor | None]:
    """Return the standard deviation of a read and, if slopes are wanted, its own slope."""
    assert bar.read_noise is not None
    parts = []
    if (law := bar.read_noise.sigma) is not None:
        parts.append(_polynomial(devices, law, float(bar.g_max_siemens)))
    if (flicker := bar.read_noise.flicker) is not None:
        parts.append(_flicker(devices, flicker, bar, when))
    if len(parts) == 1:
        return parts[0]
    (a, a_slope), (b, b_slope) = parts
    sigma = torch.linalg.vector_norm(torch.stack([a, b]), dim=0)
    if a_slope is None or b_slope is None:
        return sigma, None
    rises = torch.addcmul(a * a_slope, b, b_slope)
    return sigma, torch.where(sigma > 0, rises / sigma, 0.0)


def _polynomial(devices: Devices, law: Polynomial, g_max: float) -> tuple[Tensor, Tensor | None]:
    x, slope = devices.programmed / g_max, devices.programmed_slope
    sigma = polynomial(x, law).clamp(min=0)
    return sigma, None if slope is None else where_positive(polynomial_slope(x, law) * slope / g_max, sigma)


def _flicker(devices: Devices, law: Flicker, bar: Crossbar, when: Conditions) -> tuple[Tensor, Tensor | None]:
    t_read, age = float(law.read_second), when.age(bar.reference_second)
    grown = math.sqrt(max(0.0, math.log((age + t_read) / (2 * t_read))))
    g, slope, programmed_slope = devices.now, devices.slope, devices.programmed_slope
    # x^-e has no value at zero, where there is nothing to fluctuate.
    conducts = devices.programmed.sign()
    programmed = devices.programmed.clamp(min=TINY * bar.g_max_siemens)
    # Powers of two are much faster than powers; the logarithm of a coefficient of zero is far enough below.
    q, cap = max(law.coefficient * grown, 1e-300), law.cap * grown
    power = float(law.exponent)
    steep = torch.exp2(line(torch.log2(programmed), -power, math.log2(q) + power * math.log2(bar.g_max_siemens)))
    share = steep.clamp(max=cap) * conducts
    sigma = g * share
    if slope is None or programmed_slope is None:
        return sigma, None
    falls = where_positive(torch.div(steep, programmed), cap - steep)  # none where the cap holds
    return sigma, torch.addcmul(share * slope, g, falls * programmed_slope, value=-power)
