"""What a solve returns: the state, and for every sample whether to believe it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor


class Status(IntEnum):
    """The verdict on one sample; `advice` says what to try next."""

    CONVERGED = 0
    MAX_STEPS = 1
    DIVERGED = 2
    NOT_FINITE = 3

    @property
    def advice(self) -> str:
        """One sentence for the person who meets this status."""
        return {
            Status.CONVERGED: "the residual is within tolerance",
            Status.MAX_STEPS: "the step limit was reached: raise max_steps, loosen rtol, or check with "
            "monotone_margin(W) > 0 that an equilibrium exists",
            Status.DIVERGED: "the residual grew without bound: this solver does not suit the map; use solver='auto', "
            "or a weight that is monotone or contractive by construction",
            Status.NOT_FINITE: "inf or nan appeared: check the injection and weights for inf or nan",
        }[self]


@dataclass(frozen=True)
class Solution:
    """A batch of solved equations ``x = f(x)``.

    Attributes:
        state: ``x*``, shaped like the problem's states, e.g. ``(batch, n)``. residual: ``‖f(x) − x‖₂`` at that state,
        per sample, shape ``(batch,)``. steps: evaluations of f until that sample was accepted (all stages of ``auto``
        together), shape ``(batch,)``. status: :class:`Status` values, shape ``(batch,)``, integer. solvers: names of
        the solvers that had a part. picked: which of `solvers` settled each sample, shape ``(batch,)``, index. time:
        for solvers that follow the flow ``τ ẋ = f(x) − x``, time to tolerance in τ, shape ``(batch,)``; else None.
        inverse: the solver's own estimate of ``(I − J)⁻¹``, for reuse by cheaper gradients; None if it has none.
    """

    state: Tensor
    residual: Tensor
    steps: Tensor
    status: Tensor
    solvers: tuple[str, ...]
    picked: Tensor
    complete: bool
    time: Tensor | None = None
    inverse: InverseEstimate | None = None

    @property
    def converged(self) -> Tensor:
        """Boolean mask of shape ``(batch,)``."""
        return self.status == 0  # Status.CONVERGED; the enumeration itself costs more than the comparison

    def summary(self) -> str:
        """Say in one line which solver settled how many samples, in how many steps."""
        parts = []
        for index, name in enumerate(self.solvers):
            mine = (self.picked == index) & self.converged
            if bool(mine.any()):
                steps = self.steps[mine]
                parts.append(f"{int(mine.sum())} by {name} in {int(steps.min())} to {int(steps.max())} steps")
        failed = int((~self.converged).sum())
        if failed:
            parts.append(f"{failed} not at rest")
        return ", ".join(parts) or "no samples"

    def shaped(self, batch_shape: torch.Size, state_shape: torch.Size) -> Solution:
        """Return the same verdicts with batch dimensions and states in these shapes."""
        return replace(
            self,
            state=self.state.view(state_shape),
            residual=self.residual.view(batch_shape),
            steps=self.steps.view(batch_shape),
            status=self.status.view(batch_shape),
            picked=self.picked.view(batch_shape),
            time=None if self.time is None else self.time.view(batch_shape),
        )


class InverseEstimate:
    """An approximation of ``(I − J)⁻¹`` that a forward solve leaves behind."""

    def left(self, g: Tensor) -> Tensor:
        """Return ``(I − J)⁻ᵀ g`` approximately, for ``g`` of shape ``(batch, n)``."""
        raise NotImplementedError


_DEFAULTS = {torch.float64: (1e-11, 1e-13), torch.bfloat16: (3e-2, 1e-2), torch.float16: (5e-3, 1e-3)}


@dataclass(frozen=True)
class Tolerance:
    """A sample is accepted when ``‖f(x) − x‖₂ ≤ atol + rtol ‖x‖₂``; both are used as they stand."""

    rtol: float
    atol: float

    @staticmethod
    def of(dtype: torch.dtype, rtol: float | None, atol: float | None) -> Tolerance:
        """Fill what is None by the precision: about a hundred times what rounding alone leaves.

        Raises:
            ValueError: if a tolerance is negative or not a number, or both are zero.
        """
        for name, value in (("rtol", rtol), ("atol", atol)):
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} = {value}: expected a number ≥ 0")
        if rtol == 0 and atol == 0:
            raise ValueError("rtol = 0 and atol = 0: no residual is that small; give one of them")
        r, a = _DEFAULTS.get(dtype, (1e-5, 1e-7))
        return Tolerance(r if rtol is None else rtol, a if atol is None else atol)
