"""One manufactured chip, or a population: mismatch drawn once from a seed, the same for the twin and the netlist."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equilog.hardware.technology.spec import Spec


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
        return torch.from_numpy(_stream(self.seed, name).standard_normal(shape))

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Return this chip's numbers from 0 to 1 called `name`, float64, always the same likewise."""
        return torch.from_numpy(_stream(self.seed, name).random(shape))


@dataclass(frozen=True)
class Population:
    """Chips of one technology, made and solved together; what is drawn for them has a leading dimension.

    A chip's draws are those of :class:`Chip` with its seed, whatever population it is in.

    Raises:
        ValueError: for no seed at all.
    """

    spec: Spec
    seeds: tuple[int, ...]

    def __init__(self, spec: Spec, seeds: Sequence[int]) -> None:
        """Make a population of the chips with these seeds."""
        if not len(seeds):
            raise ValueError("a population needs at least one seed")
        object.__setattr__(self, "spec", spec)
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in seeds))

    def standard_normal(self, name: str, *shape: int) -> Tensor:
        """Return every chip's deviates called `name`, shape ``(chips, *shape)``."""
        return torch.stack([Chip(self.spec, seed).standard_normal(name, *shape) for seed in self.seeds])

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Return every chip's numbers from 0 to 1 called `name`, shape ``(chips, *shape)``."""
        return torch.stack([Chip(self.spec, seed).uniform(name, *shape) for seed in self.seeds])


def _stream(seed: int, name: str) -> np.random.Generator:
    # SeedSequence spreads neighbouring seeds apart; crc32 because hash() differs between processes.
    entropy = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return np.random.Generator(np.random.PCG64(entropy))
