"""Transfer to one device: calibrate it, identify it, train with it in the loop through a twin at the measured state."""

from equilog.training.adapt.config import AdaptConfig
from equilog.training.adapt.gradients import gradient_cosine
from equilog.training.adapt.identified_chip import IdentifiedChip, typical_chip
from equilog.training.adapt.identify import Identification, excitation, identify
from equilog.training.adapt.loop import CalibrationWarning, adapt
from equilog.training.adapt.measured import on_tape, preactivation
from equilog.training.adapt.readout import refit
from equilog.training.adapt.twin import Twin, equations

__all__ = [
    "AdaptConfig",
    "CalibrationWarning",
    "Identification",
    "IdentifiedChip",
    "Twin",
    "adapt",
    "equations",
    "excitation",
    "gradient_cosine",
    "identify",
    "on_tape",
    "preactivation",
    "refit",
    "typical_chip",
]
