"""Rounding to an E series: resistors that are bought have one of 24, 96 or 192 values a decade."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices
from equilog.hardware.technology.blocks import Crossbar
from equilog.hardware.technology.eseries import at_least, values


class ESeriesRounding(DeviceEffect):
    """The resistor 1/G becomes the value whose ratio to it is nearest to one, from 1/G_max to 1/G_min.

    Gradients pass the rounding straight through. Tolerance is another effect and comes after: it spreads around the
    rounded value. The feedback resistor is of the same series, see :func:`feedback_through`.
    """

    name = "e-series"
    keys = ("e_series",)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return what was asked for as resistors that exist."""
        assert bar.e_series is not None
        sold = values(bar.e_series, 1 / bar.g_max_siemens, 1 / bar.g_min_siemens)
        return devices.rounded(sold_conductance(devices.asked, sold))


def sold_conductance(g: Tensor, sold_ohm: tuple[float, ...]) -> Tensor:
    """Return the conductances nearest in ratio, of resistors of the values given, rising; gradient straight through."""
    ladder = torch.tensor(sold_ohm, dtype=torch.float64).reciprocal().flip(0)
    # Halfway in ratio, which is the same halfway for a resistance and its conductance.
    borders = (ladder[1:] * ladder[:-1]).sqrt()
    picked = ladder[torch.bucketize(g.detach().double().cpu(), borders)]
    return picked.to(g) + (g - g.detach())


def feedback_through(r_feedback: Tensor, bar: Crossbar) -> Tensor:
    """Return the next larger resistor of the series, with the gradient of `r_feedback` itself; as given without one.

    Larger, never smaller: the largest weight then asks for no more than the conductance range holds.
    """
    if bar.e_series is None or not bool((r_feedback > 0) & r_feedback.isfinite()):
        return r_feedback
    bought = at_least(float(r_feedback.detach()), bar.e_series)
    return r_feedback.new_tensor(bought) + (r_feedback - r_feedback.detach())
