"""A matrix product in which every sample meets a chip of its own: value and gradient in two blocked passes.

``y_bi = Σ_k ŵ_ik d_bk + u ξ_bi √(Σ_k σ²(G_ik) d_bk² + σ²(G_min) Σ_k d_bk²)``, with G the conductance of the device that
carries weight i, k and ŵ the weight after rounding to levels. Written out rather than left to the tape: on a
thousand squared weights the tape's dozen temporaries cost several times the two matrix products. Rows are taken some at
a time, so that what is computed of them stays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Weights worked on at once: four such blocks in float32 fit the second-level cache of one core.
BLOCK = 1 << 16


@dataclass(frozen=True)
class DeviceLaw:
    """What the devices of a crossbar do to a weight, in numbers.

    Attributes:
        low, high: G_min and G_max in siemens.
        unit: weight per siemens.
        levels: distinct conductances, or None.
        sigmas: polynomials in G/G_max, ascending, of independent standard deviations in siemens.
    """

    low: float
    high: float
    unit: float
    levels: int | None
    sigmas: tuple[tuple[float, ...], ...]

    @property
    def uniform(self) -> bool:
        """Whether all devices have the same standard deviation, whatever they carry."""
        return all(len(law) == 1 for law in self.sigmas)

    def conductance(self, weight: Tensor) -> Tensor:
        """Return G of the devices that carry the weights, in siemens."""
        g = weight.abs().mul_(1 / self.unit)
        if self.levels is not None:
            step = (self.high - self.low) / (self.levels - 1)
            g.mul_(1 / step).round_().mul_(step)
        return g.add_(self.low)

    def realised(self, weight: Tensor, g: Tensor) -> Tensor:
        """Return the weights that the conductances stand for."""
        return weight if self.levels is None else (g - self.low).mul_(self.unit).copysign_(weight)

    def variance(self, g: Tensor) -> Tensor:
        """Return σ² in S²."""
        x = g / self.high
        total = torch.zeros_like(g)
        for law in self.sigmas:
            sigma = _horner(x, law).clamp_(min=0)
            total.addcmul_(sigma, sigma)
        return total

    def variance_and_slope(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return σ² and dσ²/dG."""
        x = g / self.high
        total, slope = torch.zeros_like(g), torch.zeros_like(g)
        for law in self.sigmas:
            sigma = _horner(x, law).clamp_(min=0)  # where it is cut to zero its slope counts for nothing, as 2σσ'
            total.addcmul_(sigma, sigma)
            if len(law) > 1:
                derivative = tuple(k * c for k, c in enumerate(law))[1:]
                slope.addcmul_(sigma, _horner(x, derivative), value=2 / self.high)
        return total, slope


def uniform_product(drive: Tensor, weight: Tensor, white: Tensor, law: DeviceLaw) -> Tensor:
    """Return y, as :class:`ManyChips`, where σ is the same for all devices: its sum over them needs no product."""
    if law.levels is not None:
        rounded = law.realised(weight.detach(), law.conductance(weight.detach()))
        weight = weight + (rounded - weight).detach()
    both = 2 * sum(sigma[0] ** 2 for sigma in law.sigmas)
    power = drive.square().sum(1, keepdim=True)
    root = (power * (both * law.unit**2) + torch.finfo(power.dtype).tiny).sqrt()
    return torch.addcmul(drive @ weight.T, white, root)


class ManyChips(torch.autograd.Function):
    """The product above; differentiable once in drive and weight."""

    @staticmethod
    def forward(ctx: Any, drive: Tensor, weight: Tensor, white: Tensor, law: DeviceLaw) -> Tensor:
        """Return y, shape ``(batch, outputs)``.

        Args:
            ctx: PyTorch's.
            drive: d, shape ``(batch, inputs)``.
            weight: shape ``(outputs, inputs)``.
            white: ξ, shape ``(batch, outputs)``.
            law: what the devices do.
        """
        power = drive.square()
        product, spread = torch.empty_like(white), torch.empty_like(white)
        for rows in _blocks(weight):
            g = law.conductance(weight[rows])
            torch.mm(power, law.variance(g).T, out=(block := spread[:, rows].contiguous()))
            spread[:, rows] = block
            product[:, rows] = drive @ law.realised(weight[rows], g).T
        spread.add_(power.sum(1, keepdim=True), alpha=_least(law, drive))
        # The floor keeps the root's slope finite where no input is on.
        root = spread.add_(torch.finfo(spread.dtype).tiny).sqrt_()
        ctx.save_for_backward(drive, weight, white, root)
        ctx.law = law
        return product.addcmul_(white, root, value=law.unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of drive and weight."""
        drive, weight, white, root = ctx.saved_tensors
        law: DeviceLaw = ctx.law
        power = drive.square()
        of_spread = (grad * white).div_(root).mul_(law.unit / 2)
        of_power = of_spread.sum(1, keepdim=True).mul_(_least(law, drive)).expand_as(drive).clone()
        of_drive, of_weight = torch.zeros_like(drive), torch.empty_like(weight)
        for rows in _blocks(weight):
            w = weight[rows]
            g = law.conductance(w)
            variance, slope = law.variance_and_slope(g)
            mine, spread = grad[:, rows], of_spread[:, rows]
            of_drive.addmm_(mine, law.realised(w, g))
            of_power.addmm_(spread, variance)
            of_g = torch.mm(spread.T, power).mul_(slope).mul_(1 / law.unit).mul_(w.sign())
            torch.addmm(of_g, mine.T, drive, out=of_weight[rows])
        return of_drive.addcmul_(of_power, drive, value=2), of_weight, None, None


def _least(law: DeviceLaw, like: Tensor) -> float:
    """Return σ² of the other device of each pair, which stays at G_min."""
    return float(law.variance(like.new_full((1,), law.low)))


def _blocks(weight: Tensor) -> list[slice]:
    rows = max(1, BLOCK // weight.shape[1])
    return [slice(k, min(k + rows, weight.shape[0])) for k in range(0, weight.shape[0], rows)]


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    *lower, top = coefficients
    total = torch.full_like(x, top)
    for coefficient in reversed(lower):
        total.mul_(x).add_(coefficient)
    return total
