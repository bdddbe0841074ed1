"""What benchmarks of models on chips share: how long a chip settles, and a range as JSON has it."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.cost import Span
from equilog.devices import TwinDevice
from equilog.hardware import Chip
from equilog.hardware.transient import Transient
from equilog.hardware.twin import dac
from equilog.model import HybridDEQ


@torch.no_grad()
def settling_second(model: HybridDEQ, chip: Chip, x: Tensor, tolerance: float, longest_tau: float) -> list[float]:
    """Return for every input when the chip's states stay within `tolerance` of rest; inf if not within so many τ."""
    device = TwinDevice(chip)
    device.program(model.cell)
    layer = device.layer
    drive = model.parameterize(x).double()
    volt = device.settle(drive).p * float(chip.spec.activation.v_scale_volt)
    times, _ = Transient(layer, dac(layer, drive)).settle(volt, tolerance, longest_tau * layer.time_constant_second)
    return [float(t) for t in times]


def ends(span: Span) -> list[float]:
    """Return low, typical and high."""
    return [span.low, span.typical, span.high]
