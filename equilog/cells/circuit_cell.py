"""The circuit-constrained cell: an equilibrium that a crossbar and a row of amplifiers can hold."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from equilog.cells.activation import Activation, Mixed, Tanh
from equilog.cells.certificate import Certificate, certify
from equilog.cells.fixed import FixedCoupling, total_of
from equilog.cells.monotone import MonotoneWeight
from equilog.cells.system import AffineSystem


class CircuitCell(nn.Module):
    """``p = W φ(p) + U d + b``, ``z = φ(p)`` with φ = tanh: everything in it becomes conductances.

    `drive` ``d`` is what the digital parameterization computes and the DACs play out, in units of their full
    scale; a chip clips it to [−1, 1]. W, U and b are programmed once, as columns of one crossbar.

    With a law beside them, ``p = W φ(p) + U d + b + P(z, d)``: physics informed. The states that the law holds then
    start with nothing learnt beside it, so that the untrained cell rests at the law's own answer there.

    Args:
        states: number of neurons n.
        drives: number of DAC channels m.
        margin: of the monotone recurrent weight, see :class:`MonotoneWeight`; not used where `recurrent` is given.
        recurrent: what makes W, a module as :class:`~equilog.cells.SymmetricWeight`; monotone unless given.
        fixed: P, a law in fixed conductances; leading states without an activation are its own.

    Raises:
        ValueError: without a drive, or for a recurrent weight or a law of another size.
    """

    def __init__(
        self,
        states: int,
        drives: int,
        *,
        margin: float = 0.3,
        recurrent: nn.Module | None = None,
        fixed: FixedCoupling | None = None,
    ) -> None:
        super().__init__()
        if drives < 1:
            raise ValueError(f"drives = {drives}: expected at least one DAC channel")
        if recurrent is not None and getattr(recurrent, "n", states) != states:
            raise ValueError(f"recurrent weight of {recurrent.n} states in a cell of {states}: expected as many")
        self.states = states
        self.drives = drives
        anchored = 0
        if fixed is not None:
            fixed.check_beside(states, drives)
            anchored = fixed.anchored
        self.recurrent = MonotoneWeight(states, margin, anchored=anchored) if recurrent is None else recurrent
        self.input_weight = nn.Parameter(torch.randn(states, drives) / drives**0.5)
        self.bias = nn.Parameter(torch.zeros(states))
        self.fixed = fixed
        with torch.no_grad():
            self.input_weight[:anchored] = 0.0

    @property
    def activation(self) -> Activation:
        """The ideal tanh, in all states but those without an activation."""
        return Mixed(self.fixed.linear) if self.fixed is not None and self.fixed.linear else Tanh()

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``: what a chip's crossbar is programmed with."""
        return self.recurrent(), self.input_weight, self.bias

    def total(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same with the law in it, ``W + K_z``, ``U + K_d`` and ``b + k``: the whole equation."""
        return total_of(self)

    def certificate(self) -> Certificate:
        """Return what the whole equation's present weight guarantees, measured in float64."""
        found = certify(self.total()[0])
        if not isinstance(self.recurrent, MonotoneWeight):
            return found
        margin = float(self.recurrent.margin)
        if self.fixed is not None:
            if self.recurrent.anchored != self.fixed.anchored:
                return found
            margin = min(margin, self.fixed.margin)
        return replace(found, promise=f"margin ≥ {margin:.6g}")

    def system(self, drive: Tensor) -> AffineSystem:
        """Return the ideal equation for drives of shape ``(batch, m)``.

        Raises:
            ValueError: if the drive does not have one column per DAC channel.
        """
        check_drive(drive, self.drives)
        weight, input_weight, bias = self.total()
        return AffineSystem(weight, drive @ input_weight.T + bias, self.activation)


def check_drive(drive: Tensor, channels: int) -> None:
    """Raise ``ValueError`` unless `drive` has shape ``(batch, channels)``."""
    if drive.ndim != 2 or drive.shape[1] != channels:
        raise ValueError(
            f"drive has shape {tuple(drive.shape)}, expected (batch, {channels}): one column per DAC channel"
        )
