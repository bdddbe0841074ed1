"""Regularisers with a physical unit: ``loss(state, generator)`` for a batch at rest on one chip, a scalar on the tape.

A weight λ has the inverse of its loss's unit: it says what one unit is worth in terms of the task's loss.

===========  ==================  ================================================================
name         unit                what it is
===========  ==================  ================================================================
robustness   state² (V_s² = 1)   expected displacement of a state by mismatch and noise
precision    state²              expected error of a state by levels, ranges and converter bits
energy       joule               one inference on the chip
stability    1/τ                 by how much the slowest pole misses the margin asked for
===========  ==================  ================================================================

The first two are of the same unit and may have the same λ: what a squared error of a state costs the task, about half
the curvature of the task's loss in z. Energies are small numbers of joules: λ = 1e7 charges 0.01 for a nanojoule.
"""

from torch import nn

from equilog.training.losses.displacement import Displacement, expected_displacement
from equilog.training.losses.energy import Energy
from equilog.training.losses.precision import Precision
from equilog.training.losses.robustness import Robustness
from equilog.training.losses.settling import settling_second
from equilog.training.losses.stability import StabilityMargin

__all__ = [
    "LOSSES",
    "Displacement",
    "Energy",
    "Precision",
    "Robustness",
    "StabilityMargin",
    "expected_displacement",
    "settling_second",
]

LOSSES: dict[str, type[nn.Module]] = {
    "robustness": Robustness,
    "precision": Precision,
    "energy": Energy,
    "stability": StabilityMargin,
}
"""by the name under which a stage of a curriculum weighs them; each can be made without arguments"""
