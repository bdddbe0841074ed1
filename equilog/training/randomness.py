"""Everything random in training, as a function of seed, epoch and step: never of a generator's running state."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from equilog.hardware import Chip, Spec

# Chips met in training come from another stream than the small seeds that people give to the chip they deploy on.
_CHIP, _AUGMENT, _ORDER, _READ, _CIRCUMSTANCES, _NOISE, _LOSS = range(1, 8)


def derived_seed(*parts: int) -> int:
    """Return a 63-bit seed that depends on all of `parts`, well spread even for neighbouring ones."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def training_chip(spec: Spec, seed: int, step: int) -> Chip:
    """Return the chip that step `step` of a run with this seed meets."""
    return Chip(spec, derived_seed(_CHIP, seed, step))


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator for the augmentation of one step."""
    return torch.Generator().manual_seed(derived_seed(_AUGMENT, seed, step))


def read_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of read noise and converter noise of one step."""
    return torch.Generator().manual_seed(derived_seed(_READ, seed, step))


def noise_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of thermal noise of one step."""
    return torch.Generator().manual_seed(derived_seed(_NOISE, seed, step))


def loss_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of the probes with which regularisers estimate at one step."""
    return torch.Generator().manual_seed(derived_seed(_LOSS, seed, step))


def circumstances(seed: int, step: int) -> tuple[float, float]:
    """Return two numbers from 0 to 1 that decide age and temperature of one step."""
    a, b = np.random.Generator(np.random.PCG64(np.random.SeedSequence((_CIRCUMSTANCES, seed, step)))).random(2)
    return float(a), float(b)


class EpochOrder(Sampler[list[int]]):
    """Batches of shuffled indices; the order depends on seed and epoch alone."""

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.samples, self.batch_size, self.seed, self.epoch = samples, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch whose order comes next; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.samples / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(derived_seed(_ORDER, self.seed, self.epoch))
        order = torch.randperm(self.samples, generator=generator).tolist()
        for start in range(0, self.samples, self.batch_size):
            yield order[start : start + self.batch_size]
