"""Mismatch of a fixed network: precision resistors miss their ratio to R_f, each by its own; drawn once for a chip.

No levels, no programming error, no drift: nothing is programmed. What is common to all resistors of a kind, R_f
included, cancels in every weight; what is left is the mismatch from one to the next, Gaussian (Pelgrom, Duinmaijer &
Welbers, IEEE J. Solid-State Circuits 24 (1989) 1433). An output without an activation has its gain from two such
resistors and its offset from an amplifier. In the netlist: the resistors' values, and gain and shift of the outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.effects.neuron import ACTIVATION_GAIN, ACTIVATION_OFFSET, AMPLIFIER_OFFSET
from equilog.hardware.technology.spec import Spec


class FixedNetworkMismatch:
    """A Gaussian relative error of every resistor of a fixed network."""

    name = "fixed-network"
    stream = "fixed.network"

    def sigma(self, spec: Spec) -> float:
        """Return its standard deviation in the technology; 0 where that says nothing."""
        return 0.0 if spec.fixed_network is None else float(spec.fixed_network.tolerance)

    def sample(self, chip: Chip | Population, shape: torch.Size) -> Tensor | None:
        """Return ``1 + error`` of resistors of `shape`, float64, ``(chips, *shape)`` for a population; None if exact.

        A resistor conducts no less than nothing.
        """
        sigma = self.sigma(chip.spec)
        return (1 + sigma * chip.standard_normal(self.stream, *shape)).clamp(min=0) if sigma else None

    def off(self) -> dict[str, Any]:
        """Return the change of a technology that switches it off."""
        return {"fixed_network": None}


FIXED_NETWORK = FixedNetworkMismatch()


def output_sigmas(spec: Spec, neurons: int, linear: int) -> tuple[Tensor, Tensor]:
    """Return the standard deviations of the outputs' gains and of their offsets in volts, float64, each ``(n,)``.

    Those of an activation block; of the first `linear` neurons, those of a ratio of resistors and of an amplifier.
    """
    gain = torch.full((neurons,), ACTIVATION_GAIN.sigma(spec), dtype=torch.float64)
    offset = torch.full((neurons,), ACTIVATION_OFFSET.sigma(spec), dtype=torch.float64)
    gain[:linear], offset[:linear] = FIXED_NETWORK.sigma(spec), AMPLIFIER_OFFSET.sigma(spec)
    return gain, offset


def sample_outputs(chip: Chip | Population, neurons: int, linear: int) -> tuple[Tensor, Tensor]:
    """Return gains and offsets in volts of every neuron's output, float64, shapes ``(n,)`` or ``(chips, n)``."""
    if not linear:
        return 1 + ACTIVATION_GAIN.sample(chip, neurons), ACTIVATION_OFFSET.sample(chip, neurons)
    gain, offset = output_sigmas(chip.spec, neurons, linear)
    return (
        1 + gain * chip.standard_normal(ACTIVATION_GAIN.stream, neurons),
        offset * chip.standard_normal(ACTIVATION_OFFSET.stream, neurons),
    )
