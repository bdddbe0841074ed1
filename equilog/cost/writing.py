"""Programming a chip: what it takes once, and each inference's share of it."""

from __future__ import annotations

from equilog.cost.span import Span
from equilog.hardware import ProgrammedLayer


def devices(layer: ProgrammedLayer) -> int:
    """Return how many devices are programmed: the pairs of all weights, those too that came out as no conductance."""
    return layer.devices


def programming_joule(layer: ProgrammedLayer) -> Span | None:
    """Return the energy of programming all devices, ``devices · E_write``; None where the technology says nothing."""
    write = layer.spec.crossbar.write_joule
    return None if write is None else Span.of(write) * devices(layer)


def programming_second(layer: ProgrammedLayer) -> Span | None:
    """Return how long it takes one device after the other, ``devices · t_write``; None likewise."""
    write = layer.spec.crossbar.write_second
    return None if write is None else Span.of(write) * devices(layer)
