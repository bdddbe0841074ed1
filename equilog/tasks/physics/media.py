"""Random porous media, smooth and log-normal, and the pressure in them by finite volumes on a finer grid.

The Gaussian field is that of Li et al., *Fourier Neural Operator for Parametric Partial Differential Equations*, ICLR
2021, §5.2 and app. A.3.2, ``N(0, (−Δ + 9)⁻²)`` with no flux through the sides; they cut it to two values, here its
exponential is the permeability, as is usual in hydrology (Freeze, Water Resour. Res. 11 (1975) 725).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.priors import Grid, darcy
from equilog.tasks.computed import seeded

SIDE = 8
WAVES = 5
DEVIATION = 0.4
FINER = 4
_STEPS, _TOLERANCE = 200, 1e-9


def grid(side: int = SIDE) -> Grid:
    """Return the unit square in so many cells a side, pressure zero around it."""
    return Grid((side, side), 1 / side)


def waves(side: int) -> Tensor:
    """Return ``cos(jπx) cos(kπy)`` for j, k < 5 at the centres of the cells, shape ``(25, side, side)``."""
    x = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    line = torch.cos(math.pi * torch.arange(WAVES, dtype=torch.float64)[:, None] * x)
    return torch.einsum("jx,ky->jkxy", line, line).reshape(WAVES**2, side, side)


def weights() -> Tensor:
    """Return standard deviations of the 25 amplitudes of ln a, such that ln a has a mean square of 0.4² over the area.

    ``1/(π²(j² + k²) + 9)`` times the norm of each wave; the mean, j = k = 0, is left out: it only multiplies u.
    """
    j = torch.arange(WAVES, dtype=torch.float64)
    sigma = 1 / (math.pi**2 * (j[:, None] ** 2 + j**2) + 9)
    norm = torch.where(j > 0, math.sqrt(2), 1.0)
    sigma = (sigma * norm[:, None] * norm).reshape(-1)
    sigma[0] = 0.0
    # The mean square of a wave over the square is 1/norm².
    size = (sigma / (norm[:, None] * norm).reshape(-1)).square().sum().sqrt()
    return DEVIATION * sigma / size


def media(samples: int, seed: int) -> Tensor:
    """Return permeabilities about 1 m²/(Pa·s) at the centres of the cells, float64, ``(samples, 8, 8)``."""
    draw = torch.randn(samples, WAVES**2, dtype=torch.float64, generator=seeded(seed)) * weights()
    return torch.einsum("sk,kxy->sxy", draw, waves(SIDE)).exp()


def finer(a: Tensor, times: int = FINER) -> Tensor:
    """Return the same media on so many times the cells a side: amplitudes of ln a are found again from 8 × 8 values."""
    coarse, fine = waves(SIDE).flatten(1), waves(times * SIDE).flatten(1)
    amplitudes = torch.linalg.lstsq(coarse.T, a.double().log().flatten(1).T).solution
    return (amplitudes.T @ fine).exp().unflatten(1, (times * SIDE, times * SIDE))


def pressures(a: Tensor, times: int = FINER) -> Tensor:
    """Return u in Pa at the centres of the 8 × 8 cells, ``(samples, 8, 8)``, float64, for a source of 1/s everywhere.

    Solved on a grid of 32 × 32 cells, of which the four around a centre are averaged: the error of both is of the
    second order in their size. All media at once, by conjugate gradients preconditioned by ``a^−½ (−∇²)⁻¹ a^−½``
    (Concus & Golub, SIAM J. Numer. Anal. 10 (1973) 1103), to 1e-9.

    Args:
        a: permeabilities, ``(samples, 8, 8)``.
        times: cells of the finer grid along a side of a coarse one, even.
    """
    return restricted(_solved(finer(a, times)), times)


def pressure(a: Tensor, times: int = FINER) -> Tensor:
    """Return the same for one medium, ``(8, 8)``, by sparse factors."""
    side = times * SIDE
    fine = finer(a[None], times)[0]
    return restricted(darcy(grid(side), fine).solve(torch.ones(1, side, side, dtype=torch.float64)), times)[0]


def restricted(u: Tensor, times: int) -> Tensor:
    """Return the means of the four cells around the centres of the coarse ones, ``(samples, 8, 8)``."""
    cells = u.unflatten(2, (SIDE, times)).unflatten(1, (SIDE, times))
    middle = slice(times // 2 - 1, times // 2 + 1)
    return cells[:, :, middle, :, middle].mean((2, 4))


def _solved(a: Tensor) -> Tensor:
    """Return u on the grid of a, ``(samples, side, side)``."""
    side = a.shape[-1]
    cells = grid(side)
    k = torch.arange(1, side + 1, dtype=torch.float64)
    line = torch.sin(math.pi * k * (torch.arange(side, dtype=torch.float64)[:, None] + 0.5) / side)
    line = line / line.norm(dim=0)
    rates = (2 * side * torch.sin(math.pi * k / (2 * side))).square()

    root = a.rsqrt()

    def nearly(r: Tensor) -> Tensor:
        return root * (line @ ((line.T @ (root * r) @ line) / (rates[:, None] + rates)) @ line.T)

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum((1, 2), keepdim=True)

    r = torch.ones_like(a)
    u, z = torch.zeros_like(a), nearly(r)
    p, rz, size = z, dot(r, z), float(r[0].norm())
    for _ in range(_STEPS):
        ap = -cells.divergence(p, a)
        step = rz / dot(p, ap)
        u, r = u + step * p, r - step * ap
        if float(r.flatten(1).norm(dim=1).max()) < _TOLERANCE * size:
            return u
        z = nearly(r)
        before, rz = rz, dot(r, z)
        p = z + rz / before * p
    raise RuntimeError(f"conjugate gradients are above {_TOLERANCE} after {_STEPS} steps")
