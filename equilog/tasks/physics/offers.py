"""What a model is offered beside its law: the differences of a learnt flux, sources that are learnt, biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.model import HybridDEQ

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


class WithSources(nn.Module):
    """``x ↦ [c, q]``: amplitudes ``c = P x`` of known patterns, and learnt sources q, zero to begin with.

    ``q = R [m, m², m³, m⁴] + r`` with ``m = M c``: of a nonlinear law's answer to a small source these are the first
    terms (its Volterra series; Rugh, *Nonlinear System Theory*, 1981, ch. 1).

    Args:
        onto: P, shape ``(amplitudes, inputs)``.
        scale: what every amplitude is divided by before it is mixed, shape ``(amplitudes,)``.
        mixed: numbers in m.
        sources: numbers in q.
        size: of a q that R gives for mixtures of about one.
    """

    onto: Tensor
    scale: Tensor

    def __init__(self, onto: Tensor, scale: Tensor, mixed: int, sources: int, size: float) -> None:
        super().__init__()
        self.register_buffer("onto", onto.detach().to(torch.get_default_dtype()))
        self.register_buffer("scale", scale.detach().to(torch.get_default_dtype()))
        self.size = size
        self.mix = nn.Linear(len(onto), mixed, bias=False)
        self.sum = nn.Linear(4 * mixed, sources)
        nn.init.zeros_(self.sum.weight)
        nn.init.zeros_(self.sum.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(batch, amplitudes + sources)`` for inputs ``(batch, …)``, flattened."""
        c = x.flatten(1) @ self.onto.T
        m = self.mix(c / self.scale)
        q = self.size * self.sum(torch.cat([m**p for p in (1, 2, 3, 4)], dim=1))
        return torch.cat([c, q], dim=1)


def offered(model: HybridDEQ, *first: nn.Module, bias: float) -> HybridDEQ:
    """Put modules in front of a model's parameterization, give its cell's learnt biases a random start, and return it.

    They start evenly in ±`bias`. Without, every hidden neuron is an odd function of its drives, and so is all that they
    tell the law: biases of zero have no gradient towards anything even. A law's own states that are apart have none.
    """
    with torch.no_grad():
        model.cell.bias.uniform_(-bias, bias)
    model.parameterize = nn.Sequential(*first, model.parameterize)
    return model
