"""What is offered to a conservation law on a circle: the differences of a learnt flux of powers of its state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Without viscosity ∂ⁿu/∂tⁿ = (−1)ⁿ ∂ⁿ(uⁿ⁺¹/(n + 1))/∂xⁿ: the third order in time has the fourth power.
POWERS = (2, 3, 4)
WIDTH = 6


class WithFlux(nn.Module):
    """``u ↦ [u, q]``, ``q_i = (F_{i−½} − F_{i+½})/h``: whatever F is, q sums to zero: nothing is made or lost.

    F is a learnt sum of u², u³ and u⁴ of the three points either side of a face, the same at every face; it begins at
    zero. Of Burgers' equation these powers are what there is: without viscosity u after a time t is
    ``Σ_n (−t)ⁿ/n! ∂ⁿ(uⁿ⁺¹/(n + 1))/∂xⁿ`` (Lagrange's inversion of ``u = u₀(x − u t)``; Whitham, *Linear and Nonlinear
    Waves*, 1974, §2.1 for the latter).

    Args:
        scale: what u is divided by before it is raised, so that powers stay within ±1; F is in its unit squared.
        spacing_metre: h.
    """

    def __init__(self, scale: float, spacing_metre: float) -> None:
        super().__init__()
        self.scale, self.spacing_metre = scale, spacing_metre
        self.face = nn.Conv1d(len(POWERS), 1, WIDTH, bias=False)
        nn.init.zeros_(self.face.weight)

    def forward(self, u: Tensor) -> Tensor:
        """Return shape ``(batch, 2 n)`` for states ``(batch, n)``: u, then q in its unit squared per metre."""
        powers = torch.stack([(u / self.scale) ** p for p in POWERS], dim=1)
        # The face i + ½ sees points i − 2 to i + 3.
        padded = nn.functional.pad(powers, (WIDTH // 2 - 1, WIDTH // 2), mode="circular")
        flux = self.scale**2 * self.face(padded)[:, 0]
        return torch.cat([u, (flux.roll(1, 1) - flux) / self.spacing_metre], dim=1)
