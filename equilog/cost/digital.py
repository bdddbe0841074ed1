"""The digital side: what the ends of a hybrid model cost, and what its equilibrium would cost without a chip."""

from __future__ import annotations

from functools import cache
from importlib import resources

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from equilog.cells import CircuitCell
from equilog.cost.span import Span
from equilog.equilibrium import Anderson, Chord, Picard
from equilog.hardware.technology.figure import Figure
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


_CALLED = {"picard": "Picard", "anderson": "Anderson", "chord": "chord with Anderson"}


@torch.no_grad()
def equilibrium_work(cell: CircuitCell, drive: Tensor, tolerance: float) -> tuple[Work, float, str]:
    """Count what the cheapest of three digital solvers needs, per sample, for the answer that the converters resolve.

    Picard iteration; Anderson acceleration; the chord method, whose step is one matrix product like theirs. A step is
    that product, two passes over Anderson's differences and n activations; the matrix is fetched again at every step.
    The chord's matrix K is made once for all samples, like the programming of a chip, and left out.

    Args:
        cell: the trained cell.
        drive: representative drives, shape ``(batch, m)``.
        tolerance: absolute and relative residual, e.g. half an ADC code.

    Returns:
        the work of one inference, the mean number of steps, and the solver's name. Solvers that leave a sample
        unconverged after 200 steps are out.

    Raises:
        ValueError: if none converges.
    """
    system = cell.system(drive)
    n, m = cell.states, cell.drives
    found: list[tuple[Work, float, str]] = []
    for solver in (
        Picard(tolerance, tolerance),
        Anderson(tolerance, tolerance, memory=5),
        Chord(tolerance, tolerance, memory=3),
    ):
        result = solver.solve(system)
        if not bool(result.converged.all()):
            continue
        steps = float(result.steps.double().mean())
        memory = getattr(solver, "memory", 0)
        work = Work(
            macs=steps * (n * n + 4 * memory * n) + n * m,
            fetched_numbers=steps * (n * n + 2 * memory * n) + n * m,
            activations=steps * n,
        )
        found.append((work, steps, _CALLED[solver.name]))
    if not found:
        raise ValueError(f"no digital solver reaches a residual of {tolerance:g} in 200 steps for every sample")
    return min(found, key=lambda entry: entry[0].fetched_numbers)
