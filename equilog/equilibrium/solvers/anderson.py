"""Anderson acceleration, every sample with a least-squares problem of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from equilog.equilibrium.loop import Vector, in_numpy
from equilog.equilibrium.problem import Map
from equilog.equilibrium.solvers.base import Solver

FURTHEST = 1e3
"""A change of f that is rounding has nothing to teach: never extrapolate further than a pace of 0.999 needs."""


@dataclass
class History:
    """Differences of residuals and of damped iterates, newest in a ring, and their Gram matrix.

    Attributes:
        d_f, d_g: shape ``(memory, batch, n)``.
        gram: ``ΔF ΔFᵀ``, shape ``(batch, memory, memory)``.
        last_f, last_g: of the step before, each of shape ``(batch, n)``; or `arrays`, the two as NumPy sees them.
    """

    d_f: Tensor
    d_g: Tensor
    gram: Tensor
    last_f: Tensor | None = None
    last_g: Tensor | None = None
    arrays: tuple[Vector, Vector] | None = None
    count: int = 0


@dataclass(frozen=True)
class Anderson(Solver):
    """``x ← x + βf − (ΔX + βΔF) γ`` with ``γ = argmin ‖f − ΔF γ‖`` and ``f = f(x) − x``.

    Walker & Ni (SIAM J. Numer. Anal. 2011). Equals GMRES on a linear problem until the memory is full. The ridge is
    relative to the trace of the Gram matrix, so inputs of any size are treated alike. Weakness: with short memory it
    stalls on maps whose Jacobian has large skew eigenvalues; damping 0.5 helps there.

    Attributes:
        memory: differences kept; 1 is the vector secant, with a closed form that costs a third of the general one.
        damping: β in (0, 1].

    Raises:
        ValueError: for ``memory < 1`` or a damping outside (0, 1].
    """

    memory: int = 5
    damping: float = 1.0

    name: ClassVar[str] = "anderson"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < 1:
            raise ValueError(f"memory = {self.memory}: expected at least 1 difference")
        if not 0 < self.damping <= 1:
            raise ValueError(f"damping = {self.damping}: expected a number in (0, 1]")

    def init(self, problem: Map, x: Tensor) -> History:
        """Return an empty history."""
        m = self.memory
        if m == 1:
            return History(x, x, x)
        batch, n = x.shape
        return History(x.new_empty(m, batch, n), x.new_empty(m, batch, n), x.new_zeros(batch, m, m))

    def step(self, problem: Map, x: Tensor, fx: Tensor, memory: History) -> Tensor:
        """Return the accelerated iterate."""
        h = memory
        if self.memory == 1 and self.damping == 1 and (arrays := in_numpy(x, fx)) is not None:
            return self._secant(*arrays, fx, h)
        f = fx - x
        g = fx if self.damping == 1 else torch.add(x, f, alpha=self.damping)
        if h.last_f is None or h.last_g is None:
            h.last_f, h.last_g = f, g
            return g
        if self.memory == 1:
            d_f = f - h.last_f
            gamma = torch.linalg.vecdot(d_f, f).div_(torch.linalg.vecdot(d_f, d_f))
            gamma.nan_to_num_(0.0).clamp_(-FURTHEST, FURTHEST)
            update = torch.addcmul(g, gamma[:, None], g - h.last_g, value=-1)
        else:
            update = self._mix(f, g, f - h.last_f, g - h.last_g, h)
        h.last_f, h.last_g = f, g
        return update

    def _secant(self, x: Vector, g: Vector, fx: Tensor, h: History) -> Tensor:
        """Return the accelerated iterate of memory 1; in NumPy, whose calls cost a third to a half of PyTorch's."""
        f = g - x
        if h.arrays is None:
            h.arrays = f, g
            return fx
        d_f, d_g = f - h.arrays[0], g - h.arrays[1]
        gamma = np.vecdot(d_f, f)
        gamma /= np.vecdot(d_f, d_f) + np.finfo(f.dtype).tiny
        np.fmax(gamma, -FURTHEST, out=gamma)
        np.fmin(gamma, FURTHEST, out=gamma)
        d_g *= gamma[:, None]
        h.arrays = f, g
        return torch.from_numpy(np.subtract(g, d_g))

    def _mix(self, f: Tensor, g: Tensor, d_f: Tensor, d_g: Tensor, h: History) -> Tensor:
        slot = h.count % self.memory
        h.count += 1
        used = min(h.count, self.memory)
        learnt = torch.linalg.vecdot(d_f, d_f) > _stagnant(f)
        torch.mul(d_f, learnt[:, None], out=h.d_f[slot])
        h.d_g[slot] = d_g
        row = torch.linalg.vecdot(h.d_f[:used], h.d_f[slot]).mT  # (batch, used)
        h.gram[:, slot, :used] = row
        h.gram[:, :used, slot] = row
        gram = h.gram[:, :used, :used]
        trace = gram.diagonal(dim1=1, dim2=2).sum(1)
        finfo = torch.finfo(f.dtype)
        # Relative to the trace, so inputs of any size are treated alike; the floor only guards an all-zero Gram.
        ridge = trace * (10 * finfo.eps) + finfo.tiny
        right = torch.linalg.vecdot(h.d_f[:used], f).mT[:, :, None]
        gamma, _ = torch.linalg.solve_ex(gram + torch.diag_embed(ridge[:, None].expand(-1, used)), right)
        update = g.clone()
        for i in range(used):  # in place, no temporary of the size of the history
            update.addcmul_(h.d_g[i], gamma[:, i], value=-1)
        return update


def _stagnant(f: Tensor) -> Tensor:
    """Return the squared size below which a change of f, per sample, is rounding: there is nothing to learn from it."""
    return torch.linalg.vecdot(f, f).mul_((30 * torch.finfo(f.dtype).eps) ** 2)
