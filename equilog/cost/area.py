"""Area of a chip by block: counts of the parts that a layer is made of times what each takes."""

from __future__ import annotations

import torch

from equilog.circuit.netlist import component_count
from equilog.cost.process import Process, process_of
from equilog.cost.span import Span
from equilog.hardware import ProgrammedLayer


def area_parts(layer: ProgrammedLayer, process: Process | None = None) -> dict[str, Span]:
    """Return the area of each block in m²: what :func:`equilog.cost.parts.block_table` finds in the netlist.

    Resistors and capacitors around amplifiers are charged by their values, and so are those of a law; on a board they
    are parts. The detector's only where the technology has one. An output without an activation takes what one takes.

    Args:
        layer: the chip.
        process: the integrated one, or the board's for discrete parts, unless given.
    """
    process = process or process_of(layer.spec)
    count, n = component_count(layer), layer.states
    passives = Span.of(process.resistor_m2_per_ohm) * float(layer.r_feedback_ohm)
    passives = passives + Span.of(process.capacitor_m2_per_farad) * float(layer.c_feedback_farad)
    parts = {
        "crossbar devices": Span.of(process.device_m2) * count["crossbar devices"],
        **law_parts(layer, process),
        "summing integrators": (Span.of(process.amplifier_m2) + passives) * n,
        "activations": Span.of(process.activation_m2) * (n - layer.linear),
        "DACs": Span.of(process.dac_m2) * layer.drives,
        "ADCs": Span.of(process.adc_m2) * n,
        "references": Span.of(process.reference_m2),
    }
    if layer.spec.detector is not None:
        parts["sample-and-holds"] = Span.of(process.sample_hold_m2) * n
        parts["detector comparators"] = Span.of(process.comparator_m2) * (2 * n)
    return parts


def law_parts(layer: ProgrammedLayer, process: Process) -> dict[str, Span]:
    """Return the area in m² of a law's resistors and of its states' outputs; nothing without a law."""
    parts = {}
    if layer.fixed_pairs is not None:
        law = torch.cat(layer.fixed_pairs)
        conducts = law[law > 0].detach().double()
        discrete = layer.spec.crossbar.e_series is not None
        parts["fixed resistors"] = (
            Span.of(process.device_m2) * len(conducts)
            if discrete
            else Span.of(process.resistor_m2_per_ohm) * float((1 / conducts).sum())
        )
    if layer.linear:
        parts["linear outputs"] = Span.of(process.activation_m2) * layer.linear
    return parts
