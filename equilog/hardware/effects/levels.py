"""Conductance levels: a device takes one of a few values."""

from __future__ import annotations

from torch import Tensor

from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices
from equilog.hardware.quantise import to_levels
from equilog.hardware.technology.blocks import Crossbar


class Levels(DeviceEffect):
    """Round to `levels` equidistant conductances from G_min to G_max; gradients pass the rounding straight through."""

    name = "levels"
    keys = ("levels",)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the nearest level of each."""
        assert bar.levels is not None
        return devices.rounded(to_levels(devices.asked, bar.g_min_siemens, bar.g_max_siemens, int(bar.levels)))
