"""Stuck devices: some never leave a low or a high conductance, whatever is programmed, however old they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects.effect import DeviceEffect, Devices
from equilog.hardware.technology.blocks import Crossbar


class StuckDevices(DeviceEffect):
    """A uniform draw below `low_fraction` is stuck low, one above 1 − `high_fraction` stuck high.

    Raising a fraction adds stuck devices to those there were. No gradient reaches a stuck device.
    """

    name = "stuck"
    keys = ("stuck",)

    def sample(self, chip: Chip | Population, shape: torch.Size) -> Tensor:
        """Return a number from 0 to 1 for every device."""
        return chip.uniform("crossbar.stuck", *shape)

    def forward(self, devices: Devices, drawn: Tensor | None, bar: Crossbar, when: Conditions) -> Devices:
        """Return the conductances with the stuck ones in place."""
        assert bar.stuck is not None
        assert drawn is not None
        low, high = drawn < bar.stuck.low_fraction, drawn > 1 - bar.stuck.high_fraction
        g = torch.where(low, float(bar.stuck.low_siemens), devices.now)
        g = torch.where(high, float(bar.stuck.high_siemens), g)
        if devices.slope is None:
            return replace(devices, now=g)
        return replace(devices, now=g, slope=torch.where(low.logical_or_(high), 0.0, devices.slope))
