"""What the tests of the regularisers share: a chip without mismatch of a technology that has some, and states on it."""

from dataclasses import replace

import torch
from builders import NO_MISMATCH, drives, matrices

from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.twin import TwinState, dac, static_system

settle = EquilibriumLayer(Auto(), on_failure="raise")

FLAWLESS = NO_MISMATCH | {"dac.inl_lsb": None, "adc.inl_lsb": None, "crossbar.stuck": None, "crossbar.drift": None}
"""with ranges and bits only"""


class Nominal(Chip):
    """The chip whose every draw is the mean."""

    def standard_normal(self, name, *shape):
        return torch.zeros(shape, dtype=torch.float64)

    def uniform(self, name, *shape):
        return torch.full(shape, 0.5, dtype=torch.float64)


def rest(layer, drive, played=None):
    """The state under drives, as the DACs play them unless given."""
    played = dac(layer, drive) if played is None else played
    system = static_system(layer, played)
    return TwinState(layer, drive, played, system, settle.rest(system))


def nominal_state(spec, n=6, m=3, batch=4, seed=0, norm=2.0, conditions=None):
    return rest(program(matrices(n, m, seed, norm), Nominal(spec, 0), conditions), drives(batch, m, seed))


def of_weights(programmed, judged=None, seed=0, n=4, m=2, batch=3, gain=1.0):
    """A function from weights and drives to a state, without rounding, and arguments for gradcheck.

    The layer is programmed as one technology has it and judged by another.
    """
    tensors = [t.clone().requires_grad_() for t in (*matrices(n, m, seed), gain * drives(batch, m, seed))]

    def state(weight, inputs, bias, drive):
        layer = program((weight, inputs, bias), Chip(programmed, 3))
        layer = layer if judged is None else replace(layer, spec=judged)
        return rest(layer, drive, drive.clamp(-1, 1))

    return state, tensors
