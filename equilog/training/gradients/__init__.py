"""How a gradient is obtained from a machine: one way a file, one interface for all."""

from equilog.training.gradients.adjoint_reading import AdjointReading
from equilog.training.gradients.equilibrium_propagation import (
    EquilibriumPropagation,
    NotSymmetricError,
    equilibrium_propagation,
)
from equilog.training.gradients.fixed_cell import FixedCell
from equilog.training.gradients.on_device import OnDevice
from equilog.training.gradients.source import CellGradient, GradientSource, LossGradient, measure
from equilog.training.gradients.weight_perturbation import WeightPerturbation

__all__ = [
    "AdjointReading",
    "CellGradient",
    "EquilibriumPropagation",
    "FixedCell",
    "GradientSource",
    "LossGradient",
    "NotSymmetricError",
    "OnDevice",
    "WeightPerturbation",
    "equilibrium_propagation",
    "measure",
]
