"""Products of inputs for a learnt layer: what a polynomial right-hand side is made of."""

from __future__ import annotations

from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn


class Products(nn.Module):
    """``E m(x) + e`` with m all products of one to `degree` of the inputs: x_i, x_i x_j, x_i x_j x_k, …

    Computed digitally, in front of the DACs. Which products matter, and how much, is learnt.

    Args:
        inputs: n.
        outputs: of the linear layer.
        degree: of the longest product.
    """

    index: Tensor

    def __init__(self, inputs: int, outputs: int, degree: int) -> None:
        super().__init__()
        factors = [f for d in range(1, degree + 1) for f in combinations_with_replacement(range(inputs), d)]
        # Shorter products are filled with a one, which follows the inputs.
        padded = [[*f, *[inputs] * (degree - len(f))] for f in factors]
        self.register_buffer("index", torch.tensor(padded), persistent=False)
        self.linear = nn.Linear(len(factors), outputs)

    def products(self, x: Tensor) -> Tensor:
        """Return every product, ``(batch, products)``, for inputs ``(batch, n)``."""
        return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)[:, self.index].prod(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, outputs)``."""
        y: Tensor = self.linear(self.products(x))
        return y
