"""The digital side: what the ends of a hybrid model cost, and what its equilibrium would cost without a chip."""

from __future__ import annotations

from functools import cache
from importlib import resources

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from equilog.cells import CircuitCell
from equilog.cost.span import Span
from equilog.equilibrium import ChordSolver
from equilog.hardware.figure import Figure
from equilog.names import Strict, load_yaml, parse


class DigitalTarget(Strict):
    """A digital computer as data."""

    name: str
    summary: str
    mac_joule: Figure
    bytes_per_number: Figure
    sram_joule_per_byte: Figure
    activation_macs: Figure
    mac_per_second: Figure


@cache
def default_target() -> DigitalTarget:
    """Return the target that ships with equilog."""
    with resources.as_file(resources.files("equilog.cost") / "digital.yaml") as path:
        return parse(DigitalTarget, load_yaml(path), "equilog's digital target")


class Work(Strict):
    """Operations of one inference at batch 1: multiply–accumulates and numbers fetched from memory."""

    macs: float
    fetched_numbers: float
    activations: float = 0.0

    def energy_joule(self, target: DigitalTarget) -> Span:
        """Arithmetic plus memory traffic."""
        arithmetic = (Span.of(target.activation_macs) * self.activations + self.macs) * target.mac_joule
        fetched = Span.of(target.bytes_per_number) * self.fetched_numbers
        return arithmetic + fetched * target.sram_joule_per_byte

    def latency_second(self, target: DigitalTarget) -> Span:
        """Arithmetic at the target's rate; memory is assumed to keep up."""
        macs = Span.of(target.activation_macs) * self.activations + self.macs
        return macs / target.mac_per_second


@torch.no_grad()
def module_work(module: nn.Module, sample: Tensor) -> Work:
    """Count one inference of any module: MACs by PyTorch's own counter, every parameter fetched once.

    Args:
        module: for example a parameterization.
        sample: one input, shape ``(1, …)``.
    """
    with FlopCounterMode(display=False) as counter:
        out = module(sample)
    return Work(
        macs=counter.get_total_flops() / 2,
        fetched_numbers=sum(p.numel() for p in module.parameters()) + sample.numel() + out.numel(),
    )


@torch.no_grad()
def equilibrium_work(cell: CircuitCell, drive: Tensor, tolerance: float) -> tuple[Work, float]:
    """Count what our own chord solver needs, per sample, for the answer that the converters resolve.

    Per step: Wφ(p), the preconditioner, Anderson's differences (two passes over its memory), n activations; W and
    the preconditioner are fetched again at every step. Their set-up is shared by all samples and left out.

    Args:
        cell: the trained cell.
        drive: representative drives, shape ``(batch, m)``.
        tolerance: relative residual, e.g. half an ADC code.

    Returns:
        the work of one inference, and the mean number of steps.
    """
    solver = ChordSolver(rtol=tolerance, atol=tolerance)
    solution = solver.solve(cell.system(drive))
    n, m = cell.states, cell.drives
    steps = float((solution.steps + 1).double().mean())
    per_step = 2 * n * n + 4 * solver.memory * n
    work = Work(
        macs=steps * per_step + n * m,
        fetched_numbers=steps * (2 * n * n + 2 * solver.memory * n) + n * m,
        activations=steps * n,
    )
    return work, steps
