"""Broyden's good method with bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from equilog.equilibrium.problem import Map
from equilog.equilibrium.solution import InverseEstimate
from equilog.equilibrium.solvers.base import Solver


@dataclass
class LowRank(InverseEstimate):
    """``H = I + Σ uᵢ vᵢᵀ ≈ (I − J)⁻¹``, per sample; u, v of shape ``(memory, batch, n)``, the first `used` in force."""

    u: Tensor
    v: Tensor
    used: int = 0
    last_x: Tensor | None = None
    last_f: Tensor | None = None

    def right(self, f: Tensor) -> Tensor:
        """Return ``H f``."""
        return _apply(self.u, self.v, self.used, f)

    def left(self, g: Tensor) -> Tensor:
        """Return ``Hᵀ g``."""
        return _apply(self.v, self.u, self.used, g)


@dataclass(frozen=True)
class Broyden(Solver):
    """``x ← x + H f`` with ``H ≈ (I − J)⁻¹`` corrected by rank one a step (Broyden 1965, Sherman–Morrison form).

    When the memory is full it starts afresh, so it never holds more than ``2 · memory`` states. Needs no damping where
    Picard diverges mildly; its first steps are Picard's, and on maps that diverge strongly it may be lost before it has
    learnt enough.

    Attributes:
        memory: rank-one terms kept.

    Raises:
        ValueError: for ``memory < 1``.
    """

    memory: int = 30

    name: ClassVar[str] = "broyden"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < 1:
            raise ValueError(f"memory = {self.memory}: expected at least 1 rank-one term")

    def init(self, problem: Map, x: Tensor) -> LowRank:
        """Return ``H = I``."""
        shape = (min(self.memory, self.max_steps), *x.shape)
        return LowRank(x.new_empty(shape), x.new_empty(shape))

    def step(self, problem: Map, x: Tensor, fx: Tensor, memory: LowRank) -> Tensor:
        """Correct H so that it maps the last change of residual to the last change of x, and step."""
        h, f = memory, fx - x
        if h.last_x is not None and h.last_f is not None:
            if h.used == len(h.u):
                h.used = 0
            s, y = x - h.last_x, h.last_f - f  # H y = s is wanted
            h_y, left = h.right(y), h.left(s)
            below = torch.linalg.vecdot(left, y)
            # A sample that does not move, or whose correction would blow up, keeps its H.
            size = torch.linalg.vector_norm(left, dim=1) * torch.linalg.vector_norm(y, dim=1)
            rounding = 30 * torch.finfo(f.dtype).eps * torch.linalg.vector_norm(f, dim=1)
            usable = (below.abs() > 1e-7 * size) & (torch.linalg.vector_norm(y, dim=1) > rounding)
            h.u[h.used] = torch.where(usable[:, None], (s - h_y) / torch.where(usable, below, 1)[:, None], 0)
            h.v[h.used] = left
            h.used += 1
        h.last_x, h.last_f = x, f
        return x + h.right(f)

    def inverse(self, problem: Map, memory: LowRank) -> LowRank:
        """Return H as it is at the end."""
        return memory


def _apply(u: Tensor, v: Tensor, used: int, f: Tensor) -> Tensor:
    out = f.clone()
    if used:
        weights = torch.linalg.vecdot(v[:used], f)
        for i in range(used):  # one pass over each term, no temporary of the size of all
            out.addcmul_(u[i], weights[i][:, None])
    return out
