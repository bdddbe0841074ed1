"""A linear law beside what is learnt: fixed conductances that nobody programs, and states without an activation."""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor, nn

Matrices = tuple[Tensor, Tensor, Tensor]
"""``W (n, n)``, ``U (n, m)`` and ``b (n,)``"""


class HoldsMatrices(Protocol):
    """Any cell; one with a law beside its matrices has it in its attribute `fixed`."""

    def matrices(self) -> Matrices:
        """Return ``W (n, n)``, ``U (n, m)`` and ``b (n,)``."""


class FixedCoupling(nn.Module):
    """``P(z, d) = K_z z + K_d d + k``, the law in ``p = W φ(p) + U d + b + P(z, d)``: given, never trained.

    On a chip it is a network of precision resistors at the same virtual grounds as the crossbar. Leading states may be
    physical variables: their neurons have no activation, ``z = p``.

    Args:
        weight: K_z, shape ``(n, n)``.
        input_weight: K_d, shape ``(n, m)``.
        bias: k, shape ``(n,)``; zero unless given.
        linear: how many leading states have no activation.

    Raises:
        ValueError: if the shapes do not fit together, a number is not finite, or there are not so many states.
    """

    weight: Tensor
    input_weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, input_weight: Tensor, bias: Tensor | None = None, *, linear: int = 0) -> None:
        super().__init__()
        bias = weight.new_zeros(weight.shape[:1]) if bias is None else bias
        check_matrices(weight, input_weight, bias, ("K_z", "K_d", "k"))
        if not 0 <= linear <= len(bias):
            raise ValueError(f"linear = {linear}: expected from 0 to all {len(bias)} states without an activation")
        self.linear = linear
        for name, value in (("weight", weight), ("input_weight", input_weight), ("bias", bias)):
            self.register_buffer(name, value.detach().clone())

    @classmethod
    def of(cls, law: HoldsMatrices, hidden: int = 0) -> Self:
        """Return a law's own states, without activations, followed by `hidden` states that it does not touch.

        Raises:
            ValueError: for a negative number of hidden states.
        """
        if hidden < 0:
            raise ValueError(f"hidden = {hidden}: expected 0 or more states")
        pad, (weight, input_weight, bias) = nn.functional.pad, law.matrices()
        sizes = (0, hidden, 0, hidden), (0, 0, 0, hidden), (0, hidden)
        padded = (pad(m, size) for m, size in zip((weight, input_weight, bias), sizes))
        return cls(*padded, linear=len(bias))

    @property
    def states(self) -> int:
        """Number of states n."""
        return len(self.bias)

    @property
    def drives(self) -> int:
        """Number of DAC channels m."""
        return self.input_weight.shape[1]

    @property
    def anchored(self) -> int:
        """How many leading states the law holds: up to the last that it touches, all without activation included."""
        columns = self.columns().ne(0)
        touched = columns.any(1) | columns[:, : self.states].any(0)
        return max(self.linear, int(touched.nonzero().max()) + 1 if bool(touched.any()) else 0)

    @property
    def margin(self) -> float:
        """``λ_min(I − sym K_z)`` over the anchored states: what the law alone guarantees; inf where it holds none."""
        held = self.weight[: self.anchored, : self.anchored].double()
        if not len(held):
            return float("inf")
        return float(torch.linalg.eigvalsh(torch.eye(len(held)).to(held) - (held + held.T) / 2)[0])

    def matrices(self) -> Matrices:
        """Return ``K_z (n, n)``, ``K_d (n, m)`` and ``k (n,)``."""
        return self.weight, self.input_weight, self.bias

    def columns(self) -> Tensor:
        """Return ``[K_z, K_d, k]``, shape ``(n, n + m + 1)``: in the order of the crossbar's columns."""
        return torch.cat([self.weight, self.input_weight, self.bias[:, None]], dim=1)

    def widened(self, drives: int) -> FixedCoupling:
        """Return the same law with so many more drives, which do not enter it."""
        wider = nn.functional.pad(self.input_weight, (0, drives))
        return FixedCoupling(self.weight, wider, self.bias, linear=self.linear)

    def added_to(self, matrices: Matrices) -> Matrices:
        """Return the sum, in the precision of `matrices`.

        Raises:
            ValueError: for matrices of other shapes.
        """
        self.check_beside(*matrices[1].shape)
        weight, input_weight, bias = (m + k.to(m) for m, k in zip(matrices, self.matrices()))
        return weight, input_weight, bias

    def check_beside(self, states: int, drives: int) -> None:
        """Raise ``ValueError`` unless the law has so many states and drives."""
        if (self.states, self.drives) != (states, drives):
            raise ValueError(
                f"fixed coupling of {self.states} states and {self.drives} drives beside matrices of {states} and "
                f"{drives}: expected as many"
            )

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"states={self.states}, drives={self.drives}, linear={self.linear}"


def fixed_of(cell: HoldsMatrices) -> FixedCoupling | None:
    """Return the law that a cell of any kind has beside its matrices; None if it has none."""
    return getattr(cell, "fixed", None)


def populated_of(cell: HoldsMatrices) -> Tensor | None:
    """Return where a cell of any kind wants devices, bool, ``(n, n + m + 1)``; None for everywhere."""
    return getattr(cell, "populated", None)


def total_of(cell: HoldsMatrices) -> Matrices:
    """Return W, U and b of the whole equation of a cell of any kind: its matrices, and its law if it has one."""
    fixed = fixed_of(cell)
    return cell.matrices() if fixed is None else fixed.added_to(cell.matrices())


def check_matrices(
    weight: Tensor, input_weight: Tensor, bias: Tensor, names: tuple[str, str, str] = ("W", "U", "b")
) -> None:
    """Raise ``ValueError`` unless shapes are ``(n, n)``, ``(n, m)`` and ``(n,)``, not empty, and all is finite."""
    shapes = tuple(weight.shape), tuple(input_weight.shape), tuple(bias.shape)
    n = weight.shape[0] if weight.ndim == 2 else 0
    if not n or weight.shape != (n, n) or input_weight.ndim != 2 or len(input_weight) != n or bias.shape != (n,):
        raise ValueError(f"{', '.join(names)} of shapes {shapes}: expected (n, n), (n, m) and (n,)")
    if 0 in input_weight.shape:
        raise ValueError("drives = 0: expected at least one DAC channel")
    for name, value in zip(names, (weight, input_weight, bias)):
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} has an entry that is inf or nan")
