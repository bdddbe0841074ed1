"""Area of a chip by block: counts of the parts that a layer is made of times what each takes."""

from __future__ import annotations

from equilog.circuit.netlist import component_count
from equilog.cost.process import Process, process_of
from equilog.cost.span import Span
from equilog.hardware import ProgrammedLayer


def area_parts(layer: ProgrammedLayer, process: Process | None = None) -> dict[str, Span]:
    """Return the area of each block in m²: what :func:`equilog.cost.parts.block_table` finds in the netlist.

    Feedback resistors and capacitors are charged by their values; the detector's only where the technology has one.

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
        "summing integrators": (Span.of(process.amplifier_m2) + passives) * n,
        "activations": Span.of(process.activation_m2) * n,
        "DACs": Span.of(process.dac_m2) * layer.drives,
        "ADCs": Span.of(process.adc_m2) * n,
        "references": Span.of(process.reference_m2),
    }
    if layer.spec.detector is not None:
        parts["sample-and-holds"] = Span.of(process.sample_hold_m2) * n
        parts["detector comparators"] = Span.of(process.comparator_m2) * (2 * n)
    return parts
