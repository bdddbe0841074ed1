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

    *Apart*, a crossbar has no devices between the law's own states, nor from drives and the bias into them, and none of
    its errors there: what is learnt reaches the law through hidden states alone, W as :class:`MonotoneWeight` has it, U
    and b without the law's rows. Without hidden states there is no crossbar at all.

    Args:
        states: number of neurons n.
        drives: number of DAC channels m.
        margin: of the monotone recurrent weight, see :class:`MonotoneWeight`; not used where `recurrent` is given.
        recurrent: what makes W, a module as :class:`~equilog.cells.SymmetricWeight`; monotone unless given.
        fixed: P, a law in fixed conductances; leading states without an activation are its own.
        apart: whether the states that the law holds are left to it; needs a law, and no `recurrent` of another kind.

    Raises:
        ValueError: without a drive, for a recurrent weight or a law of another size, or for `apart` without a law or
            beside a recurrent weight that is not apart in the same states.
    """

    def __init__(
        self,
        states: int,
        drives: int,
        *,
        margin: float = 0.3,
        recurrent: nn.Module | None = None,
        fixed: FixedCoupling | None = None,
        apart: bool = False,
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
        if apart:
            check_apart(recurrent, fixed, anchored)
        if recurrent is None:
            recurrent = MonotoneWeight(states, margin, anchored=anchored, apart=apart)
        self.recurrent = recurrent
        input_weight = torch.randn(states, drives) / drives**0.5
        input_weight[:anchored] = 0.0
        self._left = anchored if apart else 0
        self.input_weight = nn.Parameter(input_weight[self._left :].clone())
        self.bias = nn.Parameter(torch.zeros(states - self._left))
        self.fixed = fixed

    @property
    def activation(self) -> Activation:
        """The ideal tanh, in all states but those without an activation."""
        return Mixed(self.fixed.linear) if self.fixed is not None and self.fixed.linear else Tanh()

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``: what a chip's crossbar is programmed with."""
        weight, left = self.recurrent(), self._left
        if not left:
            return weight, self.input_weight, self.bias
        pad = nn.functional.pad
        return weight, pad(self.input_weight, (0, 0, left, 0)), pad(self.bias, (left, 0))

    @property
    def apart(self) -> bool:
        """Whether the states that the law holds are left to it."""
        return self._left > 0

    @property
    def populated(self) -> Tensor | None:
        """Where a crossbar of this cell has devices, bool, ``(n, n + m + 1)``; None for everywhere.

        A recurrent weight that is zero in some places whatever is learnt says so in an attribute of the same name,
        bool, ``(n, n)``.
        """
        recurrent = getattr(self.recurrent, "populated", None)
        if recurrent is None and not self._left:
            return None
        where = torch.ones(self.states, self.states + self.drives + 1, dtype=torch.bool, device=self.bias.device)
        if recurrent is not None:
            where[:, : self.states] = recurrent
        where[: self._left] = False
        where[: self._left, self._left : self.states] = True
        return where

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


def check_apart(recurrent: nn.Module | None, fixed: FixedCoupling | None, anchored: int) -> None:
    """Raise ``ValueError`` unless there is a law that a recurrent weight, if given, leaves its states to."""
    if fixed is None or not anchored:
        raise ValueError("apart = True without a law that holds states: expected fixed=law.coupling(…)")
    if recurrent is None:
        return
    same = isinstance(recurrent, MonotoneWeight) and recurrent.apart and recurrent.anchored == anchored
    if not same:
        raise ValueError(
            f"apart = True beside {type(recurrent).__name__}: expected a MonotoneWeight(…, anchored={anchored}, "
            "apart=True), or none"
        )


def check_drive(drive: Tensor, channels: int) -> None:
    """Raise ``ValueError`` unless `drive` has shape ``(batch, channels)``."""
    if drive.ndim != 2 or drive.shape[1] != channels:
        raise ValueError(
            f"drive has shape {tuple(drive.shape)}, expected (batch, {channels}): one column per DAC channel"
        )
