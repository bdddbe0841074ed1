"""Cells whose coupling is given and not learnt: networks of conductances, and cubics for analog computers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from equilog.cells.activation import Activation, Linear
from equilog.cells.circuit_cell import check_drive
from equilog.cells.fixed import check_matrices
from equilog.cells.system import AffineSystem


@dataclass(frozen=True)
class Cubic:
    """``z = p − c p³``: what two multipliers make of a state; c = 1/3 is tanh to third order.

    Rises for ``|p| < 1/√(3c)`` only: beyond that no certificate of a weight holds.
    """

    curvature: Tensor
    """c, a scalar or shape ``(n,)``"""

    def __call__(self, p: Tensor) -> Tensor:
        """Map pre-activations ``p`` to states of the same shape."""
        return p - self.curvature * p**3

    def slope(self, p: Tensor) -> Tensor:
        """Return ``1 − 3c p²``, same shape as ``p``."""
        return 1 - 3 * self.curvature * p.square()


class LinearCell(nn.Module):
    """``z = W z + U d + b`` with a W that a physical law gives: no activation, nothing to train.

    Args:
        weight: W, shape ``(n, n)``.
        input_weight: U, shape ``(n, m)``.
        bias: b, shape ``(n,)``; zero unless given.

    Raises:
        ValueError: if the shapes do not fit together or a number is not finite.
    """

    weight: Tensor
    input_weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, input_weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        bias = weight.new_zeros(weight.shape[:1]) if bias is None else bias
        check_matrices(weight, input_weight, bias)
        self.states, self.drives = input_weight.shape
        for name, value in (("weight", weight), ("input_weight", input_weight), ("bias", bias)):
            self.register_buffer(name, value.detach().clone())

    @classmethod
    def network(cls, coupling_siemens: Tensor, leak_siemens: Tensor, drive_ampere: Tensor) -> Self:
        """Return the cell that rests at the node voltages of a network of conductances.

        Kirchhoff's current law at node i, ``Σ_j G_ij (v_i − v_j) + g_i v_i = Σ_k I_ik d_k``, is divided by all
        conductance at the node. With equal G between neighbours it is steady diffusion on a grid, g its loss.

        Args:
            coupling_siemens: G, symmetric, not negative, zero on the diagonal, shape ``(n, n)``.
            leak_siemens: g to ground, not negative, shape ``(n,)``; at least one above zero in every connected part.
            drive_ampere: I, current into every node for a drive of 1, shape ``(n, m)``.

        Raises:
            ValueError: for other shapes or signs, or a part of the network that floats.
        """
        g, leak = coupling_siemens, leak_siemens
        n = len(g)
        if g.shape != (n, n) or leak.shape != (n,):
            raise ValueError(f"G {tuple(g.shape)} and g {tuple(leak.shape)}: expected (n, n) and (n,)")
        if not bool((g == g.T).all() and (g >= 0).all() and (g.diagonal() == 0).all() and (leak >= 0).all()):
            raise ValueError("expected G symmetric, ≥ 0 and zero on the diagonal, and g ≥ 0")
        total = g.sum(1) + leak
        nodal = total.diag() - g
        if not bool(torch.linalg.eigvalsh(nodal)[0] > 1e-12 * total.max()):
            raise ValueError("a part of the network has no path to ground: its voltage is not defined; give it a leak")
        return cls(g / total[:, None], drive_ampere / total[:, None])

    @property
    def activation(self) -> Activation:
        """The identity."""
        return Linear(torch.ones_like(self.bias))

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``."""
        return self.weight, self.input_weight, self.bias

    def system(self, drive: Tensor) -> AffineSystem:
        """Return the equation for drives of shape ``(batch, m)``; raises ``ValueError`` for another shape."""
        check_drive(drive, self.drives)
        return AffineSystem(self.weight, drive @ self.input_weight.T + self.bias, self.activation)


class CubicCell(LinearCell):
    """``p = W z + U d + b`` with ``z = p − c p³`` in some or all states, and a given W.

    Args:
        weight, input_weight, bias: as for :class:`LinearCell`.
        curvature: c, shape ``(n,)``, zero for a linear state; 1/3 in all unless given.

    Raises:
        ValueError: also if a curvature is negative.
    """

    curvature: Tensor

    def __init__(
        self, weight: Tensor, input_weight: Tensor, bias: Tensor | None = None, curvature: Tensor | None = None
    ) -> None:
        super().__init__(weight, input_weight, bias)
        c = torch.full_like(self.bias, 1 / 3) if curvature is None else curvature
        if c.shape != self.bias.shape or not bool((c >= 0).all() and c.isfinite().all()):
            raise ValueError(f"curvature {c.tolist()}: expected {self.states} numbers of 0 or more")
        self.register_buffer("curvature", c.detach().clone())

    @property
    def activation(self) -> Activation:
        """The cubic."""
        return Cubic(self.curvature)
