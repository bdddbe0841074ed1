"""The circuit in SKY130 transistors: blocks, their measured figures, and the netlist around a programmed crossbar."""

from equilog.circuit.sky130.characterised import characterised_spec, measured
from equilog.circuit.sky130.circuit import transistor_count, twin_layer, write_transistor_circuit
from equilog.circuit.sky130.models import Sky130MissingError, require
from equilog.circuit.sky130.resting import transistors_at_rest

__all__ = [
    "Sky130MissingError",
    "characterised_spec",
    "measured",
    "require",
    "transistor_count",
    "transistors_at_rest",
    "twin_layer",
    "write_transistor_circuit",
]
