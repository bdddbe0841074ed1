"""A trained layer as a circuit: its netlist, and the simulator that settles it."""

from equilog.circuit.library import Library, find_library
from equilog.circuit.netlist import component_count, write_circuit
from equilog.circuit.ngspice import Ngspice, NgspiceError, NgspiceMissingError, find_ngspice
from equilog.circuit.noise_bench import NoiseBench
from equilog.circuit.simulate import LibrarySession, Waveform, noise, rest, settle

__all__ = [
    "Library",
    "LibrarySession",
    "Ngspice",
    "NgspiceError",
    "NgspiceMissingError",
    "NoiseBench",
    "Waveform",
    "component_count",
    "find_library",
    "find_ngspice",
    "noise",
    "rest",
    "settle",
    "write_circuit",
]
