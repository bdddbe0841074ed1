"""A trained layer as a circuit: its netlist, and the simulator that settles it."""

from equilog.circuit.netlist import component_count, write_circuit
from equilog.circuit.ngspice import Ngspice, NgspiceError, NgspiceMissingError, find_ngspice
from equilog.circuit.noise_bench import NoiseBench
from equilog.circuit.simulate import Waveform, noise, rest, settle

__all__ = [
    "Ngspice",
    "NgspiceError",
    "NgspiceMissingError",
    "NoiseBench",
    "Waveform",
    "component_count",
    "find_ngspice",
    "noise",
    "rest",
    "settle",
    "write_circuit",
]
