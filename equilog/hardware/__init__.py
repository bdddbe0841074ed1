"""An analog technology as data, one manufactured chip of it, and the chip's differentiable twin."""

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects import only, without
from equilog.hardware.programming import ProgrammedLayer, program, program_cell
from equilog.hardware.technology.figure import Figure
from equilog.hardware.technology.spec import Spec, load_spec, preset_names

__all__ = [
    "Chip",
    "Conditions",
    "Figure",
    "Population",
    "ProgrammedLayer",
    "Spec",
    "load_spec",
    "only",
    "preset_names",
    "program",
    "program_cell",
    "without",
]
