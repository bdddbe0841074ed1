"""Any given recurrent weight, in a form that training cannot make less stable than it was."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from equilog.cells import Certificate, certify
from equilog.cells.monotone import monotone_margin


class KeptMargin(nn.Module):
    """``W = (1 − m) I − AᵀA + B − Bᵀ``, with A, B and m found from a given W.

    Every W has this form with m its own margin, ``λ_min(I − sym W)``: A is the symmetric root of what is left, B half
    the skew part. m is a buffer and stays: whatever A and B become, the margin does not fall below it. A negative m
    promises no equilibrium, only that it gets no worse. See :class:`~equilog.cells.MonotoneWeight`.

    Args:
        weight: W, shape ``(n, n)``.
        margin: m, if W has more than that; a larger share of W's own margin is then free to be trained away.
    """

    margin: Tensor

    def __init__(self, weight: Tensor, margin: float) -> None:
        super().__init__()
        self.n = len(weight)
        exact = weight.detach().double()
        kept = min(margin, monotone_margin(exact))
        symmetric, skew = (exact + exact.T) / 2, (exact - exact.T) / 2
        values, vectors = torch.linalg.eigh((1 - kept) * torch.eye(self.n, dtype=exact.dtype) - symmetric)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        self.a = nn.Parameter(root.to(weight))
        self.b = nn.Parameter((skew / 2).to(weight))
        self.register_buffer("margin", torch.tensor(kept, dtype=exact.dtype).to(weight))

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        eye = torch.eye(self.n, dtype=self.a.dtype, device=self.a.device)
        return (1 - self.margin) * eye - self.a.T @ self.a + self.b - self.b.T

    def certificate(self) -> Certificate:
        """Return what the present W guarantees, measured in float64."""
        return replace(certify(self()), promise=f"margin ≥ {float(self.margin):.4g}")

    def extra_repr(self) -> str:
        """Describe the weight in ``repr``."""
        return f"n={self.n}, margin={float(self.margin):.4g}"
