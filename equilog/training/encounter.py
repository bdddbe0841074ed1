"""What one step of training meets: the technology at its strength, a chip, and the circumstances of its read.

All of it is a function of ``(seed, step)``, so that a resumed run meets the same again.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from equilog.hardware import Chip, Conditions, Spec, only
from equilog.hardware.conditions import ROOM_KELVIN
from equilog.hardware.effects.strength import at_strength
from equilog.hardware.noise import spread_apart
from equilog.hardware.twin import TwinState, adc
from equilog.training.randomness import circumstances, read_generator, training_chip
from equilog.training.stage import Stage

STRENGTHS = 16
"""A ramp climbs in so many rungs: a technology is validated once for each, not once a step."""


class Encounters:
    """Chips and circumstances that a run meets, step by step.

    Args:
        spec: the technology.
        seed: of the run.
    """

    def __init__(self, spec: Spec, seed: int) -> None:
        self.spec, self.seed = spec, seed

    def at(self, stage: Stage, done: float, step: int) -> tuple[Chip, Conditions]:
        """Return the chip of one step, and when, how warm and how noisily it is read.

        Args:
            stage: what the curriculum asks for.
            done: how much of the stage lies behind, 0 to 1.
            step: of the run.
        """
        strength = math.ceil(done * STRENGTHS) / STRENGTHS if stage.ramp else 1.0
        spec = technology(self.spec, stage.effects, strength)
        chip = training_chip(spec, self.seed, step)
        age, kelvin = None, ROOM_KELVIN
        if stage.max_age_second is not None or stage.temperature_kelvin is not None:
            a, b = circumstances(self.seed, step)
            if stage.max_age_second is not None:
                youngest = spec.crossbar.reference_second
                age = youngest * max(stage.max_age_second / youngest, 1.0) ** a
            if stage.temperature_kelvin is not None:
                low, high = stage.temperature_kelvin
                kelvin = low + (high - low) * b
        reads = read_generator(self.seed, step) if stage.reads else None
        return chip, Conditions(age, kelvin, reads)


def read(state: TwinState, generator: torch.Generator | None = None) -> Tensor:
    """Return states as the ADCs report them, with thermal and amplifier noise if there is a generator for it.

    The noise moves with the weights, but the resting points it is drawn about are taken as given: what is learnt is to
    live with it.
    """
    if generator is None:
        return state.read
    spread = spread_apart(state.layer, state.p.detach() * float(state.layer.spec.activation.v_scale_volt))
    return adc(state.layer, state.z + spread * torch.randn(spread.shape, dtype=spread.dtype, generator=generator))


@lru_cache(maxsize=4 * STRENGTHS)
def technology(spec: Spec, effects: tuple[str, ...] | None, strength: float) -> Spec:
    """Return the technology with some of its effects, at some of their size."""
    return at_strength(spec if effects is None else only(spec, *effects), strength)
