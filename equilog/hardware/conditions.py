"""When and how warm a chip is read: what changes from read to read, while its mismatch stays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

ROOM_KELVIN = 300.0


@dataclass(frozen=True)
class Conditions:
    """The circumstances of one read.

    Attributes:
        age_second: since programming; None for a chip just programmed, at the age its technology's figures hold for.
        temperature_kelvin: of the whole chip.
        reads: where read noise and converter noise are drawn from; None for a noiseless read. Generators in the same
            state give the same read.

    Raises:
        ValueError: for an age or a temperature that is not above zero.
    """

    age_second: float | None = None
    temperature_kelvin: float = ROOM_KELVIN
    reads: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.age_second is not None and not 0 < self.age_second < math.inf:
            raise ValueError(f"age_second = {self.age_second}: expected a time above 0")
        if not 0 < self.temperature_kelvin < math.inf:
            raise ValueError(f"temperature_kelvin = {self.temperature_kelvin}: expected a temperature above 0")

    def age(self, reference_second: float) -> float:
        """Return the age in seconds; a device is never younger than its technology's figures."""
        return max(reference_second, reference_second if self.age_second is None else self.age_second)
