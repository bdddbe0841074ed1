"""The equation that is settled: ``p = W φ(p) + u``, for a batch of injections, on one weight or many."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from equilog.cells.activation import Activation


@dataclass(frozen=True)
class AffineSystem:
    """A batch of equations ``p = W φ(p) + u`` that share ``W`` and ``φ``, or a population of such batches.

    Attributes:
        weight: recurrent weight ``W``, shape ``(n, n)``, or ``(chips, n, n)``.
        injection: ``u``, shape ``(batch, n)``, or ``(chips, batch, n)``; all that does not depend on the state.
        activation: ``φ``; elementwise, knows its own slope.

    Raises:
        ValueError: if the shapes do not fit together.
    """

    weight: Tensor
    injection: Tensor
    activation: Activation

    def __post_init__(self) -> None:
        w, u = self.weight.shape, self.injection.shape
        fits = len(w) == len(u) and len(w) in (2, 3) and w[-1] == w[-2] == u[-1] and w[:-2] == u[:-2]
        if not fits:
            raise ValueError(
                f"weight {tuple(w)} and injection {tuple(u)}: expected (n, n) and (batch, n), "
                "or (chips, n, n) and (chips, batch, n)"
            )

    def __call__(self, p: Tensor) -> Tensor:
        """Evaluate the right-hand side ``W φ(p) + u`` at ``p``, shaped like the injection."""
        return self.activation(p) @ self.weight.mT + self.injection
