"""The circuit-constrained cell: an equilibrium that a crossbar and a row of amplifiers can hold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.cells.activation import Activation, Tanh
from equilog.cells.monotone import MonotoneWeight
from equilog.cells.system import AffineSystem


class CircuitCell(nn.Module):
    """``p = W φ(p) + U d + b``, ``z = φ(p)`` with φ = tanh: everything in it becomes conductances.

    `drive` ``d`` is what the digital parameterization computes and the DACs play out, in units of their full
    scale; a chip clips it to [−1, 1]. W, U and b are programmed once, as columns of one crossbar.

    Args:
        states: number of neurons n.
        drives: number of DAC channels m.
        margin: of the monotone recurrent weight, see :class:`MonotoneWeight`; not used where `recurrent` is given.
        recurrent: what makes W, a module as :class:`~equilog.cells.SymmetricWeight`; monotone unless given.

    Raises:
        ValueError: without a drive, or for a recurrent weight of another number of states.
    """

    def __init__(self, states: int, drives: int, *, margin: float = 0.3, recurrent: nn.Module | None = None) -> None:
        super().__init__()
        if drives < 1:
            raise ValueError(f"drives = {drives}: expected at least one DAC channel")
        if recurrent is not None and getattr(recurrent, "n", states) != states:
            raise ValueError(f"recurrent weight of {recurrent.n} states in a cell of {states}: expected as many")
        self.states = states
        self.drives = drives
        self.recurrent = MonotoneWeight(states, margin) if recurrent is None else recurrent
        self.input_weight = nn.Parameter(torch.randn(states, drives) / drives**0.5)
        self.bias = nn.Parameter(torch.zeros(states))

    @property
    def activation(self) -> Activation:
        """The ideal tanh."""
        return Tanh()

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``: what a chip is programmed with."""
        return self.recurrent(), self.input_weight, self.bias

    def system(self, drive: Tensor) -> AffineSystem:
        """Return the ideal equation for drives of shape ``(batch, m)``.

        Raises:
            ValueError: if the drive does not have one column per DAC channel.
        """
        check_drive(drive, self.drives)
        weight, input_weight, bias = self.matrices()
        return AffineSystem(weight, drive @ input_weight.T + bias, self.activation)


def check_drive(drive: Tensor, channels: int) -> None:
    """Raise ``ValueError`` unless `drive` has shape ``(batch, channels)``."""
    if drive.ndim != 2 or drive.shape[1] != channels:
        raise ValueError(
            f"drive has shape {tuple(drive.shape)}, expected (batch, {channels}): one column per DAC channel"
        )
