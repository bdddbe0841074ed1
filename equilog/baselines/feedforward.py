"""The same hybrid network without an equilibrium: one analog layer that nothing feeds back into."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.model import HybridDEQ


class NoFeedback(nn.Module):
    """``W = 0``: a crossbar of this weight has no devices between neurons.

    Args:
        n: number of neurons.
    """

    populated: Tensor
    nothing: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.register_buffer("nothing", torch.zeros(n, n), persistent=False)
        self.register_buffer("populated", torch.zeros(n, n, dtype=torch.bool), persistent=False)

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        return self.nothing


def without_feedback(model: HybridDEQ) -> HybridDEQ:
    """Take the recurrent weight out of a model, in place: ``z = φ(U d + b)``, on the same neurons and converters.

    What is trained grows smaller by the recurrent weight's parameters.

    Raises:
        ValueError: for a model that holds a law, which would remain an equilibrium.
    """
    if model.cell.fixed is not None:
        raise ValueError("a model that holds a law: expected one built with prior=False")
    model.cell.recurrent = NoFeedback(model.cell.states)
    return model
