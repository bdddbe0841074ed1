"""Symmetric weights: the flow goes downhill in an energy (Hopfield, PNAS 1984).

With W = Wᵀ, ``E(z) = −½ zᵀWz − uᵀz + Σᵢ∫₀^{zᵢ} φ⁻¹(s) ds`` has ∂E/∂z = −(Wz + u − p) = −τṗ, so along the flow
Ė = −τ Σᵢ φ'(pᵢ) ṗᵢ² ≤ 0. φ⁻¹ has slopes ≥ 1, so E is m-strongly convex and z* is its only minimum.
Near rest WD − I has real eigenvalues: it does not ring.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from equilog.cells.certificate import Certificate, certify
from equilog.cells.convolution import Convolution, Padding, convolve, mirrored
from equilog.cells.monotone import check_margin


class SymmetricWeight(nn.Module):
    """``W = (1 − m) I − AᵀA``: symmetric, eigenvalues ≤ 1 − m, whatever A is.

    Args:
        n: number of states.
        margin: m in (0, 1].
        scale: size of the random start. 0 starts at W = 0.
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
        check_margin(margin)
        self.n = n
        self.margin = margin
        noise = torch.randn(n, n, dtype=dtype, device=device) * scale / n**0.5
        self.a = nn.Parameter((1 - margin) ** 0.5 * torch.eye(n, dtype=dtype, device=device) + noise)

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        eye = torch.eye(self.n, dtype=self.a.dtype, device=self.a.device)
        weight = (1 - self.margin) * eye - self.a.T @ self.a
        return (weight + weight.T) / 2  # a matrix product may round w_ij and w_ji differently

    def certificate(self) -> Certificate:
        """Return what the present W guarantees, measured in float64."""
        return replace(certify(self()), symmetric=True, promise=f"margin ≥ {self.margin}, W = Wᵀ")

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"n={self.n}, margin={self.margin}"


class SymmetricConv2d(Convolution):
    """``Wz = (1 − m) z − AᵀAz`` with a convolution A: symmetric with margin m at every image size and padding.

    Args:
        channels, kernel_size, padding: see :class:`~equilog.cells.convolution.Convolution`.
        margin: m in (0, 1].
        scale: size of the random start. 0 starts at W = 0.
        dtype, device: of the parameters.

    Raises:
        ValueError: if an argument is out of its range.
    """

    symmetric = True

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        margin: float = 0.3,
        *,
        padding: Padding = "zeros",
        scale: float = 0.3,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(channels, kernel_size, padding, reach=2 * (kernel_size // 2))
        check_margin(margin)
        self.margin = margin
        self.a = nn.Parameter(self.start(scale, (1 - margin) ** 0.5, dtype, device))

    @property
    def promise(self) -> str:
        """What holds for any parameters."""
        return f"margin ≥ {self.margin}, W = Wᵀ"

    def kernels(self) -> tuple[Tensor, ...]:
        """Return the kernel of A."""
        return (self.a,)

    def product(self, z: Tensor, kernels: tuple[Tensor, ...], transpose: bool) -> Tensor:
        """Return ``Wz``, which is ``Wᵀz`` too."""
        (a,) = kernels
        return (1 - self.margin) * z - convolve(convolve(z, a, self.padding), mirrored(a), self.padding)

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"{super().extra_repr()}, margin={self.margin}"
