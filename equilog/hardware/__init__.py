"""An analog technology as data, one manufactured chip of it, and the chip's differentiable twin."""

from equilog.hardware.chip import Chip
from equilog.hardware.figure import Figure
from equilog.hardware.programming import ProgrammedLayer, program
from equilog.hardware.spec import Spec, load_spec, preset_names

__all__ = ["Chip", "Figure", "ProgrammedLayer", "Spec", "load_spec", "preset_names", "program"]
