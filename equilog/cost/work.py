"""What a digital computer must do for one inference, and what that costs it: arithmetic, memory, standing power."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from equilog.cost.span import Span, larger, total
from equilog.cost.target import DigitalTarget, MemoryLevel
from equilog.names import Strict

ARITHMETIC, STANDING = "arithmetic", "standing power"


class Work(Strict):
    """Operations of one inference.

    The weights are read again in every pass, by all samples of a batch together; everything else is moved for every
    sample.
    """

    macs: float
    fetched_numbers: float
    """moved at batch 1: ``weight_numbers · passes`` and what is no weight"""
    activations: float = 0.0
    """activation functions to evaluate"""
    weight_numbers: float = 0.0
    """distinct weights"""
    passes: float = 1.0
    """how often they are read"""
    steps: float = 1.0
    """operations that wait for each other, each launched"""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.weight_numbers * self.passes > self.fetched_numbers * (1 + 1e-9):
            raise ValueError(
                f"{self.weight_numbers:g} weights read {self.passes:g} times are more than the fetched_numbers = "
                f"{self.fetched_numbers:g} that they are part of"
            )
        return self

    def __add__(self, other: Work) -> Work:
        """Return one piece of work after the other; the weights of both must stay, read as often as on average."""
        weights = self.weight_numbers + other.weight_numbers
        reads = self.weight_numbers * self.passes + other.weight_numbers * other.passes
        return Work(
            macs=self.macs + other.macs,
            fetched_numbers=self.fetched_numbers + other.fetched_numbers,
            activations=self.activations + other.activations,
            weight_numbers=weights,
            passes=reads / weights if weights else 1.0,
            steps=self.steps + other.steps,
        )

    def rows(self, count: int) -> Work:
        """Return the work of so many alike that are computed together: in every pass the weights are read once for all.

        Raises:
            ValueError: for less than one.
        """
        if count < 1:
            raise ValueError(f"{count} rows: expected 1 or more")
        return Work(
            macs=self.macs * count,
            fetched_numbers=self.weight_numbers * self.passes + self.streamed_numbers * count,
            activations=self.activations * count,
            weight_numbers=self.weight_numbers,
            passes=self.passes,
            steps=self.steps,
        )

    @property
    def streamed_numbers(self) -> float:
        """Numbers moved that are no weights, a sample."""
        return max(0.0, self.fetched_numbers - self.weight_numbers * self.passes)

    def energy_parts(self, target: DigitalTarget, batch: int = 1) -> dict[str, Span]:
        """Return the energy of one inference by what takes it; joules.

        Args:
            target: the computer.
            batch: samples computed together, among which the weights read are shared.
        """
        weights, streams = self._traffic_byte(target, batch)
        level, near = self._levels(target, batch)
        parts = {ARITHMETIC: target.joule_per_mac * self._macs(target)}
        parts[f"weights from {level.name}"] = weights * level.joule_per_byte
        parts[f"activations from {near.name}"] = streams * near.joule_per_byte
        parts[STANDING] = self.latency_second(target, batch) * target.standing_watt / batch
        return {name: span for name, span in parts.items() if span.high > 0}

    def energy_joule(self, target: DigitalTarget, batch: int = 1) -> Span:
        """Return the energy of one inference: arithmetic, traffic through the memories, standing power."""
        return total(list(self.energy_parts(target, batch).values()))

    def latency_second(self, target: DigitalTarget, batch: int = 1) -> Span:
        """Return how long a batch takes from begin to end.

        Its launches, and the longer of arithmetic and traffic, which overlap.
        """
        return total(list(self.latency_parts(target, batch).values()))

    def latency_parts(self, target: DigitalTarget, batch: int = 1) -> dict[str, Span]:
        """Return the same by what takes it; seconds."""
        weights, streams = self._traffic_byte(target, batch)
        level, near = self._levels(target, batch)
        moving = (weights / level.byte_per_second + streams / near.byte_per_second) * batch
        computing = self._macs(target) * batch / target.mac_rate
        return {
            "launches": Span.of(target.launch_second) * self.steps,
            "arithmetic and memory": larger(computing, moving),
        }

    def _macs(self, target: DigitalTarget) -> Span:
        return Span.of(target.activation_macs) * self.activations + self.macs

    def _traffic_byte(self, target: DigitalTarget, batch: int) -> tuple[Span, Span]:
        """Return what one sample moves of weights, its share, and of everything else."""
        if batch < 1:
            raise ValueError(f"batch = {batch}: expected 1 or more")
        byte = Span.of(target.bytes_per_number)
        return byte * (self.weight_numbers * self.passes / batch), byte * self.streamed_numbers

    def _levels(self, target: DigitalTarget, batch: int) -> tuple[MemoryLevel, MemoryLevel]:
        """Return where the weights live, and where everything else does.

        Weights read once are taken from where a whole model fits, never from registers that were loaded for them.
        """
        byte = float(target.bytes_per_number)
        anything = tuple(memory for memory in target.memory if not memory.weights_only)
        level = target.holds(self.weight_numbers * byte, target.memory if self.passes > 1 else anything)
        between = self.streamed_numbers / max(self.steps, 1.0) * byte * batch
        return level, target.holds(between, anything)
