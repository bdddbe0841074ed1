"""What a solve returns: the state, and for every sample whether to believe it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor


class Status(IntEnum):
    """The verdict on one sample; `advice` says what to try next."""

    CONVERGED = 0
    MAX_STEPS = 1
    NOT_FINITE = 2

    @property
    def advice(self) -> str:
        """One sentence for the person who meets this status."""
        return {
            Status.CONVERGED: "the residual is within tolerance",
            Status.MAX_STEPS: "the step limit was reached: raise max_steps, loosen rtol, or check with "
            "monotone_margin(W) > 0 that an equilibrium exists",
            Status.NOT_FINITE: "inf or nan appeared: check the injection and weights for inf or nan",
        }[self]


@dataclass(frozen=True)
class Solution:
    """A batch of solved equations.

    Attributes:
        state: ``p*``, shape ``(batch, n)``.
        residual: ``‖Wφ(p) + u − p‖₂`` of each sample, shape ``(batch,)``.
        steps: steps until that sample was accepted, shape ``(batch,)``.
        status: :class:`Status` values, shape ``(batch,)``, integer.
        inverse: ``(I − W D̄)⁻¹`` at the batch-mean slope, shape ``(n, n)``; the adjoint solve reuses it.
    """

    state: Tensor
    residual: Tensor
    steps: Tensor
    status: Tensor
    inverse: Tensor

    @property
    def converged(self) -> Tensor:
        """Boolean mask of shape ``(batch,)``."""
        return self.status == Status.CONVERGED
