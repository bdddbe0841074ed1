"""Burgers' equation at rest, ``(u²/2)' − ν u'' = f`` between walls where u = 0, by Newton on sine modes.

Where f is a sum of sines, so is u: continued as an odd function, u² is even and its derivative odd. The sum converges
exponentially (Canuto et al., *Spectral Methods in Fluid Dynamics*, 1988, ch. 2 and 5).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

POINTS, LENGTH_METRE = 32, 1.0
VISCOSITY = 0.1  # m²/s
PATTERNS = 4
LARGEST_LINEAR = 0.5  # m/s
MODES = 32
_STEPS, _TOLERANCE = 25, 1e-12


def centres() -> Tensor:
    """Return the 32 points in metres: centres of equal cells."""
    return (torch.arange(POINTS, dtype=torch.float64) + 0.5) * (LENGTH_METRE / POINTS)


def sines(x: Tensor, modes: int) -> Tensor:
    """Return ``sin(kπx)`` for k = 1, 2, …, shape ``(points, modes)``."""
    return torch.sin(math.pi * torch.arange(1, modes + 1, dtype=torch.float64) * x[:, None] / LENGTH_METRE)


def amplitudes(values: Tensor, modes: int) -> Tensor:
    """Return the sine amplitudes of values ``(batch, 32)`` at the centres, ``(batch, modes)``: exact below 32 modes."""
    return values.double() @ sines(centres(), modes) * (2 / POINTS)


def at_rest(forcing: Tensor, viscosity: float = VISCOSITY, modes: int = MODES) -> tuple[Tensor, int]:
    """Return the sine amplitudes of u, ``(batch, modes)``, and how many Newton steps they took.

    Args:
        forcing: sine amplitudes of f in m/s², ``(batch, k)``, at most as many as modes.
        viscosity: ν > 0 in m²/s.
        modes: of u. Products are formed at twice as many points, where they are exact but for what modes leave out.

    Raises:
        RuntimeError: if Newton's method does not converge, as where ν is far too small for the modes.
    """
    x = (torch.arange(2 * modes, dtype=torch.float64) + 0.5) * (LENGTH_METRE / (2 * modes))
    k = math.pi / LENGTH_METRE * torch.arange(1, modes + 1, dtype=torch.float64)
    values, slopes = sines(x, modes), torch.cos(x[:, None] * k) * k
    onto = values.T / modes
    f = torch.nn.functional.pad(forcing.double(), (0, modes - forcing.shape[1]))
    b = f / (viscosity * k**2)
    for step in range(1, _STEPS + 1):
        u, slope = b @ values.T, b @ slopes.T
        residual = viscosity * k**2 * b + (u * slope) @ onto.T - f
        jacobian = onto @ (slope[..., None] * values + u[..., None] * slopes) + torch.diag(viscosity * k**2)
        change = torch.linalg.solve(jacobian, residual)
        b = b - change
        if float(change.abs().max()) < _TOLERANCE:
            return b, step
    raise RuntimeError(f"Newton's method is {float(change.abs().max()):.1e} m/s from rest after {_STEPS} steps")
