"""Cheaper gradients by name: each neglects something of ``λ = (I − J)⁻ᵀ g`` and says what."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from equilog.equilibrium.adjoint import AdjointCall, Exact, Gradient


@dataclass(frozen=True)
class OneStep(Gradient):
    """``λ = g``: backpropagate through the last evaluation only (Jacobian-free, Fung et al., AAAI 2022).

    Neglects J altogether. A descent direction for contractive maps of small norm; for others it may point uphill.
    """

    def adjoint(self, call: AdjointCall, x: Tensor, g: Tensor) -> Tensor:
        """Return g."""
        return g


@dataclass(frozen=True)
class Neumann(Gradient):
    """``λ = Σ_{i≤k} (Jᵀ)ⁱ g``: the first terms of the Neumann series (phantom gradients, Geng et al., NeurIPS 2021).

    Neglects powers beyond k: relative error about ``‖J‖ᵏ⁺¹``, and useless where ``ρ(J) ≥ 1``.

    Attributes:
        terms: k, products with Jᵀ.
    """

    terms: int = 5

    def __post_init__(self) -> None:
        if self.terms < 1:
            raise ValueError(f"terms = {self.terms}: expected at least 1; without any it is OneStep")

    def adjoint(self, call: AdjointCall, x: Tensor, g: Tensor) -> Tensor:
        """Sum the series by Horner's rule."""
        pull = call.problem.vjp(x)
        lam = g
        for _ in range(self.terms):
            lam = g + pull(lam)
        return lam


@dataclass(frozen=True)
class Reuse(Gradient):
    """``λ = Hᵀ g`` with the ``H ≈ (I − J)⁻¹`` that the forward solver built (SHINE, Ramzi et al., ICLR 2022).

    Costs next to nothing. Broyden's H is accurate in the directions its steps took, not in all; the chord method's is
    exact but for the slopes.
    """

    needs_inverse = True

    def adjoint(self, call: AdjointCall, x: Tensor, g: Tensor) -> Tensor:
        """Apply the estimate.

        Raises:
            RuntimeError: if the forward solver kept none for the whole batch.
        """
        if call.inverse is None:
            raise RuntimeError(
                "gradient Reuse needs a forward solver that estimates (I − J)⁻¹ for all samples: "
                "use Broyden() or Chord()"
            )
        return call.inverse.left(g)


@dataclass
class Watched(Gradient):
    """A cheaper gradient, compared now and then with the exact one.

    Attributes:
        estimator: what is used.
        exact: what it is compared with.
        every: compare once in this many backward passes.
        cosines: per comparison, the smallest and the mean cosine between λ and exact λ over the batch.
    """

    estimator: Gradient
    exact: Exact
    every: int = 50
    cosines: list[tuple[float, float]] = field(default_factory=list)
    _calls: int = 0

    @property
    def needs_inverse(self) -> bool:  # type: ignore[override]
        """What the estimator needs."""
        return self.estimator.needs_inverse

    def adjoint(self, call: AdjointCall, x: Tensor, g: Tensor) -> Tensor:
        """Return the estimate; on sampled batches, note how well it points."""
        lam = self.estimator.adjoint(call, x, g)
        if self._calls % self.every == 0:
            cosine = torch.nn.functional.cosine_similarity(lam, self.exact.adjoint(call, x, g), dim=1)
            cosine = cosine[torch.linalg.vector_norm(g, dim=1) > 0]
            if len(cosine):
                self.cosines.append((float(cosine.min()), float(cosine.mean())))
        self._calls += 1
        return lam
