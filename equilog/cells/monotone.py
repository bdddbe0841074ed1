"""Weights with exactly one equilibrium by construction (Winston & Kolter, NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MonotoneWeight(nn.Module):
    """``W = (1 − m) I − AᵀA + B − Bᵀ``, so that ``I − sym(W) ⪰ m I`` whatever A and B are.

    For every activation with slope in [0, 1] the equation ``p = Wφ(p) + u`` then has exactly one solution, and
    the flow ``τ ṗ = −p + Wφ(p) + u`` comes to rest at it, although the norm of W may be far above 1.

    Args:
        n: number of states.
        margin: m > 0; a larger margin settles faster and bears more mismatch, and expresses less.
        scale: size of the random start. 0 starts at W = 0 when the margin is below 1.
        dtype, device: of the parameters.

    Raises:
        ValueError: if ``n < 1`` or the margin is not in (0, 1].
    """

    def __init__(
        self,
        n: int,
        margin: float = 0.3,
        *,
        scale: float = 0.3,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"n = {n}: expected at least one state")
        if not 0 < margin <= 1:
            raise ValueError(f"margin = {margin}: expected a number in (0, 1]")
        self.n = n
        self.margin = margin
        eye = torch.eye(n, dtype=dtype, device=device)
        noise = torch.randn(2, n, n, dtype=dtype, device=device) * scale / n**0.5
        # A = sqrt(1 − m) I gives W = 0: learning starts from a network of independent neurons.
        self.a = nn.Parameter((1 - margin) ** 0.5 * eye + noise[0])
        self.b = nn.Parameter(noise[1] / 2)

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        eye = torch.eye(self.n, dtype=self.a.dtype, device=self.a.device)
        return (1 - self.margin) * eye - self.a.T @ self.a + self.b - self.b.T

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"n={self.n}, margin={self.margin}"


def monotone_margin(weight: Tensor) -> float:
    """Return the smallest eigenvalue of ``I − (W + Wᵀ)/2``: the margin m that W really has.

    Positive means one equilibrium for every activation with slope in [0, 1]. This is how a weight is judged
    after quantisation and mismatch have changed it.
    """
    eye = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    return float(torch.linalg.eigvalsh(eye - (weight + weight.T) / 2)[0])
