"""Equilibrium propagation: a gradient from resting states alone, for cells that descend an energy.

Scellier & Bengio, Front. Comput. Neurosci. 11:24 (2017); nudging to both sides after Laborieux et al., Front. Neurosci.
15:633674 (2021). With W = Wᵀ, ``p = W z + u``, ``z = φ(p)``, ``u = U d + b`` is where the energy of
:mod:`equilog.cells.symmetric` has no slope:

    E(z; θ) = −½ zᵀWz − uᵀz + Σᵢ ∫₀^{zᵢ} φ⁻¹(s) ds,      ∂E/∂z = p − Wz − u = 0.

Add β times the loss, ``F = E + βL``. Its minimum z_β obeys ``p = Wz + u − β ∂L/∂z``: the same circuit under a further
injection ``−βg``. With F* = F(z_β; θ, β), dF*/dβ = L(z_β) and dF*/dθ = ∂E/∂θ(z_β), as ∂F/∂z = 0 there. Mixed
derivatives commute, so at β = 0

    dL(z*)/dθ = d/dβ ∂E/∂θ(z_β),      ∂E/∂W = −½ zzᵀ,  ∂E/∂U = −z dᵀ,  ∂E/∂b = −z,  ∂E/∂d = −Uᵀz.

Signs: nudged by +β, the state moves *down* the loss, so ``λ = −dz_β/dβ``. The contrast of zzᵀ is the symmetric part of
λz*ᵀ: all of the gradient that reaches a symmetric weight.

- Two phases, free and nudged: ``[∂E/∂θ(z_β) − ∂E/∂θ(z₀)]/β``, wrong by O(β).
- Three phases, the nudged ones on both sides: ``[∂E/∂θ(z_β) − ∂E/∂θ(z_−β)]/2β``, wrong by O(β²).

g is measured once, at the free state, and played as a constant: L is replaced by its tangent there, which has the same
gradient, and a nudged phase is one settling. β is scaled for every sample so that the largest entry of ``βg`` is
`beta`, in units of p: the estimate does not depend on the size of the loss.

Nudges enter as n more drive channels, an identity of columns beside U. They load the nodes and they have mismatch of
their own: of a nudge −βκd a chip plays ``−β(κ + ε)d``, and its error ε counts against the gain κ of the columns. That
gain is the cell's largest weight unless given, the most that costs no range. Small β drowns in the codes of both
converters, large β in the curvature of φ.

What mismatch does. A chip's W' = W + ε is not symmetric, then nothing is an energy. Nudging still measures a response,
``(D⁻¹ − W')⁻¹ g``, where the gradient is ``(D⁻¹ − W'ᵀ)⁻¹ g``. With M = D⁻¹ − W the difference is M⁻¹(ε − εᵀ)M⁻¹g to
first order, at most ‖ε − εᵀ‖‖g‖/m² at margin m: a bias that neither a smaller β nor a third phase takes away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.cells import total_of
from equilog.devices import Cell, Device
from equilog.names import UserError
from equilog.training.gradients.fixed_cell import FixedCell
from equilog.training.gradients.source import CellGradient, LossGradient, measure

PHASES = (2, 3)
SYMMETRIC = 1e-6
"""how far w_ij may be from w_ji, relative to the largest weight: rounding, not learning"""


class NotSymmetricError(UserError):
    """A cell without an energy: equilibrium propagation has no gradient of it."""


@dataclass(frozen=True)
class EquilibriumPropagation:
    """Equilibrium propagation as a source of gradients; see the module.

    Attributes:
        beta: the largest nudge of a sample, in units of the pre-activation.
        phases: 2, or 3 to nudge to both sides.
        nudge_gain: κ, pre-activation for a nudging channel at full scale; the cell's largest weight unless given.

    Raises:
        ValueError: for a number that is not above 0, or other phases.
    """

    beta: float = 0.3
    phases: int = 3
    nudge_gain: float | None = None

    def __post_init__(self) -> None:
        for key in ("beta", "nudge_gain"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{key} = {value}: expected a number above 0, in units of the pre-activation")
        if self.phases not in PHASES:
            raise ValueError(f"phases = {self.phases}: expected 2 (free, nudged) or 3 (free, nudged to both sides)")

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"equilibrium propagation, {self.phases} phases, beta {self.beta:g}"

    def program(self, device: Device, cell: Cell) -> None:
        """Program the device with the cell and an identity of nudging columns.

        Raises:
            NotSymmetricError: for a cell whose W is not symmetric.
            ValueError: if β is more than a nudging channel can play.
        """
        check_symmetric(cell)
        device.program(self.nudged(cell))

    def nudged(self, cell: Cell) -> FixedCell:
        """Return the cell with nudging channels behind its own drives."""
        fixed = FixedCell.of(cell)
        return fixed.with_columns(self._gain(fixed) * torch.eye(cell.states, dtype=torch.float64))

    def settle(self, device: Device, cell: Cell, drive: Tensor) -> Tensor:
        """Return the states as read in the free phase: all nudges zero."""
        return self._phase(device, drive, torch.zeros(len(drive), cell.states, dtype=torch.float64))

    @torch.no_grad()
    def gradient(self, device: Device, cell: Cell, drive: Tensor, z: Tensor, g: Tensor) -> CellGradient:
        """Return the contrast of the phases; `z` is the free one."""
        g, fixed = g.double(), FixedCell.of(cell)
        largest = g.abs().amax(1, keepdim=True)
        share = self.beta / self._gain(fixed)  # of the channels' range
        nudge = g / torch.where(largest > 0, largest, 1.0) * share
        down = self._phase(device, drive, -nudge)
        up, span = (z.double(), 1.0) if self.phases == 2 else (self._phase(device, drive, nudge), 2.0)
        # A contrast of products without its cancellation: aaᵀ − bbᵀ is the symmetric part of (a − b)(a + b)ᵀ.
        lam = (up - down) * (largest / (span * self.beta))
        mean = (up + down) / 2
        product = lam.T @ mean
        return CellGradient(
            (product + product.T) / 2,
            lam.T @ drive.double(),
            lam.sum(0),
            lam @ total_of(fixed)[1],
        )

    def _gain(self, fixed: FixedCell) -> float:
        gain = fixed.largest if self.nudge_gain is None else self.nudge_gain
        if self.beta > gain:
            whose = "the cell's largest weight" if self.nudge_gain is None else "as given"
            raise ValueError(
                f"beta = {self.beta} is beyond what a nudging channel plays, nudge_gain = {gain:.4g} ({whose}): "
                "expected beta at most that; nudge less, or give a larger nudge_gain"
            )
        return gain

    def _phase(self, device: Device, drive: Tensor, nudge: Tensor) -> Tensor:
        return device.settle(torch.cat([drive.double(), nudge], dim=1)).read.double()


def equilibrium_propagation(
    device: Device,
    cell: Cell,
    drive: Tensor,
    loss_gradient: LossGradient,
    *,
    beta: float = 0.3,
    phases: int = 3,
    nudge_gain: float | None = None,
) -> CellGradient:
    """Return the gradients of a loss by equilibrium propagation on a device, two or three settlings a batch.

    Args:
        device: any device; it is programmed with the cell and n nudging channels, and stays so.
        cell: with a symmetric W, as ``CircuitCell(n, m, recurrent=SymmetricWeight(n))``.
        drive: shape ``(batch, m)``.
        loss_gradient: from the states measured in the free phase, ``(batch, n)``, to ∂L/∂z there.
        beta, phases, nudge_gain: see :class:`EquilibriumPropagation`.

    Raises:
        NotSymmetricError: for a cell whose W is not symmetric.
        ValueError: for shapes or settings out of range.
    """
    return measure(EquilibriumPropagation(beta, phases, nudge_gain), device, cell, drive, loss_gradient)


def check_symmetric(cell: Cell) -> None:
    """Raise :class:`NotSymmetricError`, naming the cell, unless W = Wᵀ."""
    weight = total_of(cell)[0].detach()
    off = (weight - weight.T).abs()
    if float(off.max()) <= SYMMETRIC * float(weight.abs().max()):
        return
    i, j = (int(k) for k in torch.unravel_index(off.argmax(), off.shape))
    recurrent = getattr(cell, "recurrent", None)
    made = "" if recurrent is None else f" (recurrent: {type(recurrent).__name__})"
    raise NotSymmetricError(
        f"equilibrium propagation needs W = Wᵀ, but in {type(cell).__name__}{made} W[{i}, {j}] = "
        f"{float(weight[i, j]):.4g} and W[{j}, {i}] = {float(weight[j, i]):.4g}: there is no energy; use "
        "CircuitCell(..., recurrent=SymmetricWeight(n)), or another source of gradients"
    )
