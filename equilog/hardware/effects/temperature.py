"""Temperature: conductances that change with it, all in the same proportion."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices
from equilog.hardware.technology.blocks import Crossbar


class TemperatureCoefficient(DeviceEffect):
    """``G (1 + a (T − T₀))``, the usual first-order coefficient of a resistor; never below zero."""

    name = "temperature"
    keys = ("temperature",)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the conductances at the temperature of the read."""
        assert bar.temperature is not None
        warmer = when.temperature_kelvin - float(bar.temperature.reference_kelvin)
        factor = max(0.0, 1 + float(bar.temperature.per_kelvin) * warmer)
        slope = None if devices.slope is None else devices.slope * factor
        return replace(devices, now=devices.now * factor, slope=slope)
