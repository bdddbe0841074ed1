"""A chip whose random numbers were not drawn but found out by measuring it.

A twin, a netlist, a population ask a chip for standard normals by name. One whose answers are estimates is therefore a
chip like any other: program other weights on it, and the errors follow as the technology says that they do, with the
state that a device is programmed to and with R_f.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equilog.hardware import Chip, Spec


@dataclass(frozen=True)
class IdentifiedChip(Chip):
    """A chip of estimated deviates; zero, the most likely value, for all that was not estimated. Nothing is stuck.

    Attributes:
        deviates: in units of their standard deviation, float64, by the names of the chip's draws.
    """

    deviates: Mapping[str, Tensor] = field(default_factory=dict, compare=False)

    def standard_normal(self, name: str, *shape: int) -> Tensor:
        """Return the estimate called `name`; raises ``ValueError`` if it was made for another shape."""
        known = self.deviates.get(name)
        if known is None:
            return torch.zeros(shape, dtype=torch.float64)
        if known.shape != shape:
            raise ValueError(
                f"{name} was identified for shape {tuple(known.shape)}, asked for {shape}: identify the chip again "
                "with the cell that it is to hold"
            )
        return known

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Return 1/2 everywhere."""
        return torch.full(shape, 0.5, dtype=torch.float64)


def typical_chip(spec: Spec) -> IdentifiedChip:
    """Return the chip of a technology with no deviation at all: what is known of one that was never measured.

    What all chips have in common stays: levels, finite gain, wires, mean drift at the age of a read.
    """
    return IdentifiedChip(spec, 0)
