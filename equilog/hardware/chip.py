"""One manufactured chip: its mismatch, drawn once from a seed, the same for the twin and the netlist."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equilog.hardware.spec import Spec


@dataclass(frozen=True)
class Chip:
    """A technology and the seed of one instance of it.

    The chip is its random numbers: :meth:`standard_normal` returns the deviate of every device in units of its
    own standard deviation, so re-programming other weights meets the same devices. Draws are keyed by name:
    adding an effect leaves those of the others as they were.
    """

    spec: Spec
    seed: int

    def standard_normal(self, name: str, *shape: int) -> Tensor:
        """Return this chip's deviates called `name`, float64, always the same for the same seed and shape."""
        # SeedSequence spreads neighbouring seeds apart; crc32 because hash() differs between processes.
        entropy = np.random.SeedSequence([self.seed, zlib.crc32(name.encode())])
        state = np.random.Generator(np.random.PCG64(entropy))
        return torch.from_numpy(state.standard_normal(shape))
