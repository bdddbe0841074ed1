"""Random matrices whose systems come to rest, with known rates."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.tasks.computed import seeded


def stable_matrix(states: int, slowest: float, fastest: float, coupling: float, seed: int) -> Tensor:
    """Return A of shape ``(n, n)``, float64, whose symmetric part has eigenvalues from ``−fastest`` to ``−slowest``.

    So every eigenvalue of A has a real part of at most ``−slowest``, whatever the skew part is, and ``ż = A z + …``
    comes to rest in any norm.

    Args:
        states: n.
        slowest, fastest: rates, above 0; the symmetric part's eigenvalues are spread evenly in the logarithm.
        coupling: spectral norm of the skew part.
        seed: of eigenvectors and skew part.

    Raises:
        ValueError: for rates that are not in order or not above 0.
    """
    if not 0 < slowest <= fastest:
        raise ValueError(f"slowest = {slowest}, fastest = {fastest}: expected rates above 0, the slower first")
    generator = seeded(seed)
    basis, skew = torch.randn(2, states, states, dtype=torch.float64, generator=generator)
    axes = torch.linalg.qr(basis).Q
    rates = torch.logspace(0, 1, states, base=fastest / slowest, dtype=torch.float64) * slowest
    skew = skew - skew.T
    size = torch.linalg.matrix_norm(skew, 2)
    return -(axes * rates) @ axes.T + skew * (coupling / size if size > 0 else 0.0)
