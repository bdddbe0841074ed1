"""Mismatch from neuron to neuron: amplifier offsets, activation gain and offset; Gaussian, drawn once for a chip.

Pelgrom, Duinmaijer & Welbers, IEEE J. Solid-State Circuits 24 (1989) 1433: mismatch of matched transistors is Gaussian
and, at distances small against the wafer, uncorrelated. In the netlist: a voltage source at each + input, and the gain
and shift of each activation block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.technology.spec import Spec


@dataclass(frozen=True)
class NeuronMismatch:
    """A Gaussian figure of every neuron."""

    name: str
    stream: str
    """which of the chip's draws it is"""
    block: str
    key: str

    def sigma(self, spec: Spec) -> float:
        """Return its standard deviation in the technology."""
        return float(getattr(getattr(spec, self.block), self.key))

    def sample(self, chip: Chip | Population, neurons: int) -> Tensor:
        """Return the figure of every neuron, float64, shape ``(n,)`` or ``(chips, n)``."""
        return self.sigma(chip.spec) * chip.standard_normal(self.stream, neurons)

    def off(self) -> dict[str, Any]:
        """Return the change of a technology that switches it off."""
        return {self.block: {self.key: 0.0}}


AMPLIFIER_OFFSET = NeuronMismatch("amplifier-offset", "amplifier.offset", "amplifier", "offset_sigma_volt")
ACTIVATION_GAIN = NeuronMismatch("activation-gain", "activation.gain", "activation", "gain_sigma")
ACTIVATION_OFFSET = NeuronMismatch("activation-offset", "activation.offset", "activation", "offset_sigma_volt")
