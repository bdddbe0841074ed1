"""The equation that is settled: ``p = W φ(p) + u``, one affine map shared by a batch of injections."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from equilog.cells.activation import Tanh


@dataclass(frozen=True)
class AffineSystem:
    """A batch of equations ``p = W φ(p) + u`` that share ``W`` and ``φ``.

    Attributes:
        weight: recurrent weight ``W``, shape ``(n, n)``.
        injection: ``u``, shape ``(batch, n)``; all that does not depend on the state.
        activation: ``φ``; elementwise, knows its own slope.
    """

    weight: Tensor
    injection: Tensor
    activation: Tanh

    def __call__(self, p: Tensor) -> Tensor:
        """Evaluate the right-hand side ``W φ(p) + u`` at ``p``, shape ``(batch, n)``."""
        return self.activation(p) @ self.weight.T + self.injection
