"""``p = Wφ(p) + u`` as a problem, and the same equation in the gauge in which a chord step is one matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from equilog.cells import AffineSystem
from equilog.cells.activation import Linear, evaluator, lightened, select
from equilog.equilibrium.problem import Map, Problem


class AffineProblem(Problem):
    """``p = Wφ(p) + u``, one weight for all samples or a population of weights."""

    def __init__(self, system: AffineSystem, shift_of: tuple[float, Tensor] | None = None) -> None:
        self.system = system
        self.shape = system.injection.shape
        self.population = system.weight.ndim == 3
        self.activation, self.weight = lightened(system.activation, system.weight.detach())
        self.injection = system.injection.detach()
        self.phi = evaluator(self.activation)
        self.start = self.injection.reshape(-1, self.shape[-1])
        self._weight_t = self.weight.mT
        self._shift_of = shift_of
        own = vars(system.activation)
        self._own = [name for name, value in own.items() if isinstance(value, Tensor)]
        self.theta = (system.weight, system.injection, *(own[name] for name in self._own))

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate ``Wφ(p) + u``."""
        if not self.population:
            return torch.addmm(self.injection, self.phi(x), self._weight_t)
        z = self.phi(x.view(self.shape))
        return torch.baddbmm(self.injection, z, self._weight_t).view(x.shape)

    def slope(self, x: Tensor) -> Tensor:
        """Return ``φ'`` at ``x``, shape ``(batch, n)``."""
        return self.activation.slope(x.view(self.shape)).detach().reshape(x.shape)

    def times_weight(self, v: Tensor, *, transposed: bool = False) -> Tensor:
        """Return ``W v`` (or ``Wᵀ v``) of every sample."""
        return (v.view(self.shape) @ (self.weight if transposed else self._weight_t)).view(v.shape)

    def jvp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> W D v``."""
        slope = self.slope(x)
        return lambda v: self.times_weight(slope * v)

    def vjp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> D Wᵀ v``."""
        slope = self.slope(x)
        return lambda v: slope * self.times_weight(v, transposed=True)

    def jacobian(self, x: Tensor) -> Tensor:
        """Return ``W D`` of every sample."""
        slope = self.slope(x)[:, None, :]
        if not self.population:
            return self.weight * slope
        chips, batch, n = self.shape
        return (self.weight[:, None] * slope.view(chips, batch, 1, n)).view(-1, n, n)

    def select(self, rows: Tensor) -> AffineProblem:
        """Return the problem of some samples; those of a population come with a weight each."""
        chips = rows // self.shape[1] if self.population else None
        activation = select(self.activation, rows, chips, self.shape)
        u = self.start[rows]
        if chips is None:
            return AffineProblem(AffineSystem(self.weight, u, activation), self._shift_of)
        shift = None if self._shift_of is None else (self._shift_of[0], self._shift_of[1][chips])
        return AffineProblem(AffineSystem(self.weight[chips], u[:, None, :], activation), shift)

    @property
    def has_factor(self) -> bool:
        """Whether K has been made already, for this problem or the one it was taken from."""
        return self._shift_of is not None

    def shift(self, d: float) -> ShiftedMap:
        """Return the same equations in the gauge where φ has lost the slope d; K is made once and kept."""
        if self._shift_of is None or self._shift_of[0] != d:
            eye = torch.eye(self.shape[-1], dtype=self.weight.dtype, device=self.weight.device)
            k, _ = torch.linalg.solve_ex(eye - d * self.weight, self.weight)
            self._shift_of = (d, k)
        return ShiftedMap(self, d, self._shift_of[1])

    def adjoint(self, x: Tensor, g: Tensor) -> tuple[AffineProblem, Callable[[Tensor], Tensor]]:
        """With ``y = Wᵀλ``: ``y = Wᵀ(D y) + Wᵀg`` is an affine system again, and ``λ = g + D y``.

        Its shifted gauge needs ``(I − dWᵀ)⁻¹Wᵀ = Kᵀ``: the factorisation of the forward solve serves again.
        """
        slope = self.slope(x)
        u = self.times_weight(g, transposed=True).view(self.shape)
        system = AffineSystem(self.weight.mT, u, Linear(slope.view(self.shape)))
        shift = None if self._shift_of is None else (self._shift_of[0], self._shift_of[1].mT)
        return AffineProblem(system, shift), lambda y: torch.addcmul(g, slope, y)

    def on_tape(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """Evaluate ``Wφ(p) + u`` as a function of p, W, u and what φ is made of."""
        return self._system(theta)(x.view(self.shape)).reshape(x.shape)

    def adjoint_on_tape(
        self, x: Tensor, g: Tensor, theta: Sequence[Tensor], settle: Callable[[AffineSystem], Tensor]
    ) -> Tensor:
        """Settle the adjoint system on tape: its weight, drive and slopes all carry their own gradients."""
        system, shape = self._system(theta), self.shape
        slope = system.activation.slope(x.view(shape))
        y = settle(AffineSystem(system.weight.mT, g.view(shape) @ system.weight, Linear(slope)))
        return (g.view(shape) + slope * y).view(g.shape)

    def _system(self, theta: Sequence[Tensor]) -> AffineSystem:
        weight, injection, *own = theta
        return AffineSystem(weight, injection, replace(self.activation, **dict(zip(self._own, own))))  # type: ignore[type-var]


class ShiftedMap(Map):
    """``p = K ψ(p) + v`` with ``ψ(p) = φ(p) − d p``, ``K = (I − dW)⁻¹ W``, ``v = (I − dW)⁻¹ u = u + dKu``.

    The same fixed points as ``p = Wφ(p) + u``: one step of it is a chord step, with the Jacobian taken at slope d
    everywhere, and costs one matrix product. For monotone W and slopes in [0, 1], d = 1/2 makes it a contraction:
    ``‖K‖/2 = ‖X(I − X)⁻¹‖ < 1`` for ``X = W/2`` if and only if ``sym(X) < 1/2`` (the Cayley transform under
    Peaceman–Rachford splitting, Winston & Kolter 2020). d does not depend on the samples, so neither do the answers
    on the rest of the batch.
    """

    def __init__(self, base: AffineProblem, d: float, k: Tensor) -> None:
        self.base, self.d = base, d
        self._k_t = k.mT
        v = torch.add(base.start, self._times_k(base.start), alpha=d)
        self.start = v
        self._v = v.view(base.shape)
        # Residual of the original equation: Wφ(p) + u − p = (I − dW)(Kψ(p) + v − p).
        self.original_residual = lambda f: torch.sub(f, base.times_weight(f), alpha=d)

    def _times_k(self, v: Tensor) -> Tensor:
        return (v.view(self.base.shape) @ self._k_t).view(v.shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate ``Kψ(p) + v``."""
        base = self.base
        if not base.population:
            return torch.addmm(self._v, torch.sub(base.phi(x), x, alpha=self.d), self._k_t)
        p = x.view(base.shape)
        return torch.baddbmm(self._v, torch.sub(base.phi(p), p, alpha=self.d), self._k_t).view(x.shape)

    def inverse_transposed(self, g: Tensor) -> Tensor:
        """Return ``(I − dWᵀ)⁻¹ g = g + d Kᵀ g`` of every sample."""
        return torch.add(g, (g.view(self.base.shape) @ self._k_t.mT).view(g.shape), alpha=self.d)

    def select(self, rows: Tensor) -> ShiftedMap:
        """Return the map of some samples."""
        return self.base.select(rows).shift(self.d)
