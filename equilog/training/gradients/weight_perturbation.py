"""Perturb all weights at once and see what the loss does: needs no model at all, and many settlings.

Simultaneous perturbation (Spall, IEEE Trans. Automatic Control 37:332, 1992): with signs Δ drawn for every weight,
``[L(θ + cΔ) − L(θ − cΔ)]/2c · Δ`` has the gradient as its expectation, up to O(c²). Of P weights a single probe sees
one direction: the cosine to the gradient after k probes is about ``√(k/(k + P))``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from equilog.devices import Cell, Device
from equilog.training.gradients.fixed_cell import FixedCell
from equilog.training.gradients.source import CellGradient, PlainSource


@dataclass(frozen=True)
class WeightPerturbation(PlainSource):
    """Simultaneous perturbation as a source of gradients: every probe programs twice and settles twice.

    The loss is taken as its tangent at the measured state, ``gᵀz``. Weights are perturbed for the batch, drives for
    every sample; one probe serves both.

    Attributes:
        probes: how many directions are tried.
        step: c, in units of the largest weight; drives move by as much of their full scale. On a technology with
            levels it must move a conductance by one.
        generator: where signs are drawn from; a seeded one of its own unless given.

    Raises:
        ValueError: for no probe, or a step that is not in (0, 1].
    """

    probes: int = 16
    step: float = 0.05
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise ValueError(f"probes = {self.probes}: expected at least 1")
        if not 0 < self.step <= 1 or not math.isfinite(self.step):
            raise ValueError(f"step = {self.step}: expected a number in (0, 1], in units of the largest weight")

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"weight perturbation, {self.probes} probes"

    @torch.no_grad()
    def gradient(self, device: Device, cell: Cell, drive: Tensor, z: Tensor, g: Tensor) -> CellGradient:
        """Return the mean of all probes; the device is programmed with the cell again afterwards."""
        fixed, drive, g = FixedCell.of(cell), drive.double(), g.double()
        step = self.step * fixed.largest
        totals = [torch.zeros_like(m) for m in (*fixed.matrices(), drive)]
        try:
            for _ in range(self.probes):
                signs = self._places(fixed, [self._signs(total) for total in totals])
                sides = [self._moved(fixed, drive, signs, sign * step, sign * self.step) for sign in (1.0, -1.0)]
                lost = []
                for moved, moved_drive in sides:
                    device.program(moved)
                    lost.append((device.settle(moved_drive).read.double() * g).sum(1))
                change = lost[0] - lost[1]
                for k in range(3):
                    totals[k] += signs[k] * (change.sum() / (2 * step))
                # At the ends of its range a drive moves to one side only: what it moved is what is divided by.
                totals[3] += change[:, None] / (sides[0][1] - sides[1][1])
        finally:
            device.program(fixed)
        return CellGradient(*(total / self.probes for total in totals))

    def _signs(self, like: Tensor) -> Tensor:
        return 2.0 * torch.randint(2, like.shape, generator=self.generator).to(like) - 1

    @staticmethod
    def _places(fixed: FixedCell, signs: list[Tensor]) -> list[Tensor]:
        """Return the signs without those of weights for which there is no device."""
        if fixed.populated is None:
            return signs
        own = fixed.populated.split([fixed.states, fixed.drives, 1], dim=1)
        weights = [sign * where.reshape(sign.shape) for sign, where in zip(signs, own)]
        return [*weights, *signs[3:]]

    @staticmethod
    def _moved(
        fixed: FixedCell, drive: Tensor, signs: list[Tensor], by: float, drive_by: float
    ) -> tuple[FixedCell, Tensor]:
        weight, input_weight, bias = (m + by * sign for m, sign in zip(fixed.matrices(), signs))
        moved = replace(fixed, weight=weight, input_weight=input_weight, bias=bias)
        return moved, (drive + drive_by * signs[3]).clamp(-1, 1)
