"""Everything random in training, as a function of seed, epoch and step: never of a generator's running state."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Sampler

from equilog.hardware import Chip, Spec

# Chips met in training come from another stream than the small seeds that people give to the chip they deploy on.
_CHIP, _AUGMENT, _ORDER, _READ, _CIRCUMSTANCES, _NOISE, _LOSS = range(1, 8)


_WORD = 2**64 - 1


def derived_seed(*parts: int) -> int:
    """Return a 63-bit seed that depends on all of `parts`, well spread even for neighbouring ones.

    SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), once for every part.
    """
    x = 0
    for part in parts:
        x = (x + part + 0x9E3779B97F4A7C15) & _WORD
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
        x ^= x >> 31
    return x >> 1


@dataclass(frozen=True)
class PassingChip(Chip):
    """A chip that is met once, in training, and drawn in single precision by PyTorch's own generator.

    Making it anew takes a third of the time that a :class:`~equilog.hardware.Chip` takes, whose numbers are meant to
    stay what they are on other machines and in later versions.
    """

    def standard_normal(self, name: str, *shape: int) -> Tensor:
        """Return this chip's deviates called `name`, float32."""
        return torch.randn(shape, generator=self._stream(name))

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Return this chip's numbers from 0 to 1 called `name`, float32."""
        return torch.rand(shape, generator=self._stream(name))

    def _stream(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self.seed, zlib.crc32(name.encode())))


def training_chip(spec: Spec, seed: int, step: int) -> PassingChip:
    """Return the chip that step `step` of a run with this seed meets."""
    return PassingChip(spec, derived_seed(_CHIP, seed, step))


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
    return derived_seed(_CIRCUMSTANCES, seed, step, 0) / 2**63, derived_seed(_CIRCUMSTANCES, seed, step, 1) / 2**63


class EpochOrder(Sampler[Tensor]):
    """Batches of shuffled indices; the order depends on seed and epoch alone."""

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.samples, self.batch_size, self.seed, self.epoch = samples, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.samples / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derived_seed(_ORDER, self.seed, self.epoch))
        yield from torch.randperm(self.samples, generator=generator).split(self.batch_size)


class Together(Sampler[list[Tensor]]):
    """The batches of an order, some at a time; the last ones may be fewer."""

    def __init__(self, order: EpochOrder, at_once: int) -> None:
        self.order, self.at_once = order, at_once

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch whose order comes next; Lightning calls this."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.at_once)

    def __iter__(self) -> Iterator[list[Tensor]]:
        batches = iter(self.order)
        while some := list(itertools.islice(batches, self.at_once)):
            yield some
