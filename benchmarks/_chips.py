"""What benchmarks of models on chips share: scores on unseen chips, how long one settles, a range as JSON has it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.cost import Span
from equilog.devices import TwinDevice
from equilog.hardware import Chip, Conditions, Spec
from equilog.hardware.transient import Transient, UnstableChipError
from equilog.hardware.twin import dac
from equilog.model import HybridDEQ, samples_at_once
from equilog.objective import Objective
from equilog.pipeline import UNSEEN_CHIPS

BATCH = 4096
"""rows settled at once"""


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


@torch.no_grad()
def scores_on_chips(
    model: HybridDEQ,
    spec: Spec,
    x: Tensor,
    y: Tensor,
    objective: Objective,
    chips: int,
    conditions: Conditions | None = None,
) -> list[float]:
    """Return the mean score on each of so many chips that training never met, nan for one that does not rest."""
    size = samples_at_once(model, BATCH)
    parts = [slice(k, k + size) for k in range(0, len(x), size)]
    drives = [model.parameterize(x[part]) for part in parts]  # the same for every chip
    dtype, found = next(model.parameters()).dtype, []
    for k in range(chips):
        device = TwinDevice(Chip(spec, UNSEEN_CHIPS + k), conditions)
        device.program(model.cell)
        try:
            reads = [device.settle(drive).read.to(dtype) for drive in drives]
        except UnstableChipError:
            found.append(math.nan)
            continue
        found.append(sum(float(objective.score(model.readout(r), y[p])) for r, p in zip(reads, parts)) / len(x))
    return found


def ends(span: Span) -> list[float]:
    """Return low, typical and high."""
    return [span.low, span.typical, span.high]
