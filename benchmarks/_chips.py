"""What benchmarks of models on chips share: scores on unseen chips, how long one settles, a range as JSON has it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.cost import CostReport, DigitalTarget, Span, estimate
from equilog.devices import TwinDevice
from equilog.hardware import Chip, Conditions, Spec
from equilog.hardware.quantise import half_code
from equilog.hardware.transient import Transient, UnstableChipError
from equilog.hardware.twin import dac
from equilog.model import HybridDEQ, samples_at_once
from equilog.objective import Objective
from equilog.pipeline import UNSEEN_CHIPS

BATCH = 4096
"""rows settled at once"""
SETTLED, LONGEST_TAU = 16, 400
"""samples that settle in time, and how long they are given"""


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
def taken(model: HybridDEQ, chip: Chip, x: Tensor, target: DigitalTarget) -> tuple[float, CostReport | None]:
    """Return how long the slowest of a few samples takes to half a code, and the costs; inf and None if it does not."""
    x = x[:SETTLED]
    times = settling_second(model, chip, x, half_code(chip.spec), LONGEST_TAU)
    slowest = max(times)
    return slowest, estimate(model, chip, x, times, target) if math.isfinite(slowest) else None


@torch.no_grad()
def driven(model: HybridDEQ, x: Tensor) -> list[Tensor]:
    """Return the drives of all samples, as many at once as a chip settles: the same for every chip."""
    return [model.parameterize(part) for part in x.split(samples_at_once(model, BATCH))]


@torch.no_grad()
def scores_on_chips(
    model: HybridDEQ,
    spec: Spec,
    drives: list[Tensor],
    y: Tensor,
    objective: Objective,
    chips: int,
    conditions: Conditions | None = None,
) -> list[float]:
    """Return the mean score on each of so many chips that training never met, nan for one that does not rest.

    `drives` are as :func:`driven` returns them.
    """
    parts = y.split(samples_at_once(model, BATCH))
    dtype, found = next(model.parameters()).dtype, []
    for k in range(chips):
        device = TwinDevice(Chip(spec, UNSEEN_CHIPS + k), conditions)
        device.program(model.cell)
        try:
            reads = [device.settle(drive).read.to(dtype) for drive in drives]
        except UnstableChipError:
            found.append(math.nan)
            continue
        found.append(sum(float(objective.score(model.readout(r), p)) for r, p in zip(reads, parts)) / len(y))
    return found


def ends(span: Span) -> list[float]:
    """Return low, typical and high."""
    return [span.low, span.typical, span.high]
