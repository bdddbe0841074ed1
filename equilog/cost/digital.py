"""The digital side: what modules and equilibria ask of a digital computer, counted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from equilog.cells import CircuitCell
from equilog.cost.target import DigitalTarget, default_target, load_target, target_names
from equilog.cost.work import Work
from equilog.equilibrium import Anderson, Chord, Picard

__all__ = [
    "DigitalTarget",
    "Work",
    "default_target",
    "equilibrium_work",
    "load_target",
    "module_work",
    "target_names",
]


@torch.no_grad()
def module_work(module: nn.Module, sample: Tensor) -> Work:
    """Count one inference of any module: MACs by PyTorch's own counter, every parameter fetched once.

    Of a table of vectors (`nn.Embedding`) only those looked up are fetched, and no batch shares them.

    Numbers that layers pass to each other are moved twice, written and read; cheap operations between them (bias,
    activation, pooling) are not counted as arithmetic.

    Args:
        module: for example a parameterization.
        sample: one input, shape ``(1, …)``.
    """
    passed, steps = 0, 0

    def watch(layer: nn.Module, _args: object, out: object) -> None:
        nonlocal passed, steps
        if isinstance(out, Tensor):
            passed += (3 if isinstance(layer, nn.Embedding) else 2) * out.numel()
            steps += 1

    # Layers with weights are what a computer launches; what lies between is fused with them.
    layers = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(watch) for layer in layers]
    try:
        with FlopCounterMode(display=False) as counter:
            out = module(sample)
    finally:
        for handle in handles:
            handle.remove()
    tables = sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Embedding))
    weights = sum(p.numel() for p in module.parameters()) - tables
    # The last layer's numbers are the output, or become it, and are moved once.
    inner = max(0, passed - 2 * out.numel())
    return Work(
        macs=counter.get_total_flops() / 2,
        fetched_numbers=weights + sample.numel() + inner + out.numel(),
        weight_numbers=weights,
        steps=max(1, steps),
    )


_CALLED = {"picard": "Picard", "anderson": "Anderson", "chord": "chord with Anderson"}


@torch.no_grad()
def equilibrium_work(cell: CircuitCell, drive: Tensor, tolerance: float) -> tuple[Work, float, str]:
    """Count what the cheapest of three digital solvers needs, per row, for the answer that the converters resolve.

    Picard iteration; Anderson acceleration; the chord method, whose step is one matrix product like theirs. A step is
    that product, two passes over Anderson's differences and n activations; the matrix is fetched again at every step.
    The chord's matrix K is made once for all samples, like the programming of a chip, and left out.

    Args:
        cell: the trained cell.
        drive: representative drives, shape ``(batch, m)``.
        tolerance: absolute and relative residual, e.g. half an ADC code.

    Returns:
        the work of one equilibrium, the mean number of steps, and the solver's name. Solvers that leave a sample
        unconverged after 200 steps are out.

    Raises:
        ValueError: if none converges.
    """
    system = cell.system(drive)
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
        work = solver_work(cell.states, cell.drives, steps, getattr(solver, "memory", 0))
        found.append((work, steps, _CALLED[solver.name]))
    if not found:
        raise ValueError(f"no digital solver reaches a residual of {tolerance:g} in 200 steps for every sample")
    return min(found, key=lambda entry: entry[0].fetched_numbers)


def solver_work(states: int, drives: int, steps: float, memory: int) -> Work:
    """Return the work of so many steps of a solver with a memory of so many differences (0: none).

    ``steps (n² + 4kn) + nm`` multiply–accumulates and ``steps (n² + 2kn + 2n) + nm + m`` numbers: the matrix, k
    differences of iterates and as many of steps, the iterate read and written; the drives' matrix once.
    """
    n, m = states, drives
    matrix = n * n * steps + n * m
    return Work(
        macs=matrix + steps * 4 * memory * n,
        fetched_numbers=matrix + steps * (2 * memory * n + 2 * n) + m,
        activations=steps * n,
        weight_numbers=n * n + n * m,
        passes=matrix / (n * n + n * m),
        steps=steps + 1,
    )
