"""Weights with exactly one equilibrium by construction (Winston & Kolter, NeurIPS 2020)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from equilog.cells.certificate import Certificate, certify
from equilog.cells.convolution import Convolution, Padding, convolve, mirrored

NEARLY_ZERO = 1e-3
"""size, against a usual start, of an A that is to have a gradient but no effect: W has its square"""


class MonotoneWeight(nn.Module):
    """``W = (1 − m) I − AᵀA + B − Bᵀ``, so that ``I − sym(W) ⪰ m I`` whatever A and B are.

    For every activation with slope in [0, 1] the equation ``p = Wφ(p) + u`` then has exactly one solution, and
    the flow ``τ ṗ = −p + Wφ(p) + u`` comes to rest at it, although the norm of W may be far above 1.

    The margin holds up to rounding, ε‖A‖²; the certificate has what is left of it in the W that forward returns.

    Beside a law K_z that couples *anchored* leading states with each other (:class:`~equilog.cells.FixedCoupling`), the
    law's own ``I − sym K_z`` takes the place of m I there: ``W = D − AᵀA + B − Bᵀ``, D = 0 on anchored states, 1 − m on
    the others. As xᵀAᵀAx ≥ 0 and xᵀ(B − Bᵀ)x = 0 for every x, a of the anchored states and h the others,

        xᵀ(I − W − K_z)x ≥ aᵀ(I − sym K_z)a + m‖h‖² ≥ min(λ_min(I − sym K_z), m) ‖x‖²

    whatever is learnt. It starts at W = 0 in all that touches an anchored state: what the law says, and nothing else.
    Rows and columns of B there have a gradient from the start, those of A once a hidden state has.

    *Apart*, nothing learnt joins anchored states with each other. A acts on the others alone, and B has their columns
    alone: with ``A: (h, h)`` and ``B: (n, h)``, each beside columns of zeros for the anchored,

        W = [[0, S], [−Sᵀ, (1 − m) I − AᵀA + B_h − B_hᵀ]],      S = B_a.

    S enters xᵀWx as aᵀSh − hᵀSᵀa = 0 and [0, A]ᵀ[0, A] is as positive semidefinite as any other, so that the inequality
    holds as it stands. What is given up is any symmetric part of the coupling between the law and hidden states.

    Args:
        n: number of states.
        margin: m > 0; a larger margin settles faster and bears more mismatch, and expresses less.
        anchored: how many leading states a law holds in place of the margin.
        apart: whether what is learnt leaves these to the law: they then meet hidden states and nothing else.
        scale: size of the random start. 0 starts at W = 0 when the margin is below 1.
        dtype, device: of the parameters.

    Raises:
        ValueError: if ``n < 1``, the margin is not in (0, 1], or there are not so many states to anchor.
    """

    def __init__(
        self,
        n: int,
        margin: float = 0.3,
        *,
        anchored: int = 0,
        apart: bool = False,
        scale: float = 0.3,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"n = {n}: expected at least one state")
        if not 0 <= anchored <= n:
            raise ValueError(f"anchored = {anchored}: expected from 0 to all {n} states")
        check_margin(margin)
        self.n = n
        self.anchored, self.apart = anchored, apart
        self.margin = margin
        eye = torch.eye(n, dtype=dtype, device=device)
        noise = torch.randn(2, n, n, dtype=dtype, device=device) * scale / n**0.5
        # A = sqrt(1 − m) I gives W = 0: learning starts from a network of independent neurons.
        self.a = nn.Parameter((1 - margin) ** 0.5 * eye + noise[0])
        self.b = nn.Parameter(noise[1] / 2)
        if apart:
            # Nothing is there that an optimiser or a weight decay could move and that has no effect.
            self.a = nn.Parameter(self.a.detach()[anchored:, anchored:].clone())
            self.b = nn.Parameter(self.b.detach()[:, anchored:].clone())
            with torch.no_grad():
                self.b[:anchored] = 0.0
        elif anchored:
            with torch.no_grad():
                # W = 0 is a saddle of −AᵀA. Without hidden states to lead A off it, it starts a rounding error beside.
                self.a[:, :anchored] = NEARLY_ZERO * noise[0][:, :anchored] if anchored == n else 0.0
                self.b[:anchored] = self.b[:, :anchored] = 0.0

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        own = torch.full((self.n,), 1 - self.margin, dtype=self.a.dtype, device=self.a.device)
        own[: self.anchored] = 0.0
        if not self.apart:
            return own.diag() - self.a.T @ self.a + self.b - self.b.T
        first = self.anchored
        gram, b = nn.functional.pad(self.a.T @ self.a, (first, 0, first, 0)), nn.functional.pad(self.b, (first, 0))
        return own.diag() - gram + b - b.T

    def certificate(self) -> Certificate:
        """Return what the present W guarantees, measured in float64."""
        return replace(certify(self()), promise=f"margin ≥ {self.margin}")

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        anchored = f", anchored={self.anchored}" if self.anchored else ""
        anchored += ", apart=True" if self.apart else ""
        return f"n={self.n}, margin={self.margin}{anchored}"


class MonotoneConv2d(Convolution):
    """``Wz = (1 − m) z − AᵀAz + Bz − Bᵀz`` with convolutions A and B: margin m at every image size and padding.

    ``Aᵀ`` is the exact transpose of the padded convolution, so AᵀA is positive semidefinite also at the borders.

    Args:
        channels, kernel_size, padding: see :class:`~equilog.cells.convolution.Convolution`.
        margin: m in (0, 1], as in :class:`MonotoneWeight`.
        scale: size of the random start. 0 starts at W = 0.
        dtype, device: of the parameters.

    Raises:
        ValueError: if an argument is out of its range.
    """

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
        self.b = nn.Parameter(self.start(scale / 2, 0.0, dtype, device))

    @property
    def promise(self) -> str:
        """What holds for any parameters."""
        return f"margin ≥ {self.margin}"

    def kernels(self) -> tuple[Tensor, ...]:
        """Return the kernels of A and of B − Bᵀ."""
        return self.a, self.b - mirrored(self.b)

    def product(self, z: Tensor, kernels: tuple[Tensor, ...], transpose: bool) -> Tensor:
        """Return ``Wz`` or ``Wᵀz``: the transpose differs in the sign of the skew part."""
        a, skew = kernels
        symmetric = (1 - self.margin) * z - convolve(convolve(z, a, self.padding), mirrored(a), self.padding)
        rotation = convolve(z, skew, self.padding)
        return symmetric - rotation if transpose else symmetric + rotation

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"{super().extra_repr()}, margin={self.margin}"


def check_margin(margin: float) -> None:
    """Raise ``ValueError`` unless the margin is in (0, 1]."""
    if not 0 < margin <= 1:
        raise ValueError(f"margin = {margin}: expected a number in (0, 1]")


def monotone_margin(weight: Tensor) -> float:
    """Return the smallest eigenvalue of ``I − (W + Wᵀ)/2``: the margin m that W really has.

    Positive means one equilibrium for every activation with slope in [0, 1]. This is how a weight is judged
    after quantisation and mismatch have changed it.
    """
    eye = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    return float(torch.linalg.eigvalsh(eye - (weight + weight.T) / 2)[0])
