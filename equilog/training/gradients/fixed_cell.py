"""A cell as a device is programmed with it: plain matrices in float64, no parameters and no tape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from equilog.cells import Activation, FixedCoupling, fixed_of, populated_of
from equilog.devices import Cell


@dataclass
class FixedCell:
    """``p = W φ(p) + U d + b`` with the weights of one moment.

    Attributes:
        weight: W, shape ``(n, n)``.
        input_weight: U, shape ``(n, m)``.
        bias: b, shape ``(n,)``.
        activation: φ.
        fixed: the law beside the weights, None without one.
        populated: where a crossbar has devices, ``(n, n + m + 1)``; None for everywhere.
        states, drives: n and m.
    """

    weight: Tensor
    input_weight: Tensor
    bias: Tensor
    activation: Activation
    fixed: FixedCoupling | None = None
    populated: Tensor | None = None
    states: int = field(init=False)
    drives: int = field(init=False)

    def __post_init__(self) -> None:
        self.states, self.drives = self.input_weight.shape

    @classmethod
    def of(cls, cell: Cell) -> Self:
        """Return the present weights of a cell."""
        weight, input_weight, bias = (m.detach().double().clone() for m in cell.matrices())
        return cls(weight, input_weight, bias, cell.activation, fixed_of(cell), populated_of(cell))

    @property
    def largest(self) -> float:
        """The largest magnitude among all weights, the law's too: what the range of a crossbar is chosen for."""
        law = () if self.fixed is None else self.fixed.matrices()
        return max(float(m.abs().max()) for m in (*self.matrices(), *law))

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``."""
        return self.weight, self.input_weight, self.bias

    def with_columns(self, columns: Tensor) -> FixedCell:
        """Return the cell with more drives behind its own: columns of shape ``(n, k)``.

        In a cell that has not devices everywhere, these have them where they are not zero.
        """
        wider = torch.cat([self.input_weight, columns.to(self.input_weight)], dim=1)
        law = None if self.fixed is None else self.fixed.widened(columns.shape[1])
        where = self.populated
        if where is not None:
            where = torch.cat([where[:, :-1], columns.ne(0), where[:, -1:]], dim=1)
        return FixedCell(self.weight, wider, self.bias, self.activation, law, where)

    def holds(self, other: FixedCell) -> bool:
        """Whether the other cell's weights are these, bit for bit, with the same law beside them."""
        return self.fixed is other.fixed and all(
            a.shape == b.shape and bool((a == b).all()) for a, b in zip(self.matrices(), other.matrices())
        )
