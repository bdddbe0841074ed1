"""The neuron's activation, ideal or as one chip makes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tanh:
    """``z = gain * tanh(p - shift)``: a transconductor's curve, with one neuron's own gain and offset.

    The ideal activation has gain 1 and shift 0. On a chip both are vectors of shape ``(n,)``; `shift` is the
    input offset in units of the activation scale V_a.
    """

    gain: Tensor | float = 1.0
    shift: Tensor | float = 0.0

    def __call__(self, p: Tensor) -> Tensor:
        """Map pre-activations ``p`` of shape ``(batch, n)`` to states of the same shape."""
        return self.gain * torch.tanh(p - self.shift)

    def slope(self, p: Tensor) -> Tensor:
        """Return the derivative ``dz/dp``, elementwise, same shape as ``p``."""
        return self.gain * (1 - torch.tanh(p - self.shift) ** 2)
