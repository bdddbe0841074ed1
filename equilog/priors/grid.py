"""Rectangular grids in one or two dimensions, and ``∇·(a∇u)`` on them by finite volumes.

Unknowns are at the centres of cells, so a boundary is half a cell away: the scheme conserves what flows through faces,
its matrix is symmetric for all kinds of boundary, and it converges with the square of the spacing. Where a varies, a
face has the harmonic mean of its two cells, two resistances in series (Patankar, *Numerical Heat Transfer and Fluid
Flow*, 1980, §4.2-3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

Kind = Literal["dirichlet", "neumann", "periodic"]


@dataclass(frozen=True)
class Side:
    """What holds at one side of a grid.

    Attributes:
        kind: "dirichlet": u is given; "neumann": a ∂u/∂n is, outward; "periodic": the opposite side follows.
        value: of u in its unit, or of a ∂u/∂n in a's times that per metre (a = 1 in laws without one); a number, or one
            for each cell along the side.

    Raises:
        ValueError: for another kind, or a value that is not finite.
    """

    kind: Kind
    value: float | Tensor = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"boundary {self.kind!r}: expected one of {', '.join(get_args(Kind))}")
        if not bool(torch.as_tensor(self.value).isfinite().all()):
            raise ValueError(f"value = {self.value} at a {self.kind} boundary: expected a finite number")


def dirichlet(value: float | Tensor = 0.0) -> Side:
    """Return a side where u is given."""
    return Side("dirichlet", value)


def neumann(flux: float | Tensor = 0.0) -> Side:
    """Return a side where what flows in, a ∂u/∂n with n outward, is given; the derivative itself where a is 1."""
    return Side("neumann", flux)


def periodic() -> Side:
    """Return a side behind which the grid begins again at the other end."""
    return Side("periodic")


@dataclass(frozen=True)
class Grid:
    """Cells of equal size on a line or a rectangle.

    Attributes:
        shape: cells in every direction, in the order of a tensor's dimensions.
        spacing_metre: size of a cell in every direction, or one number for all.
        sides: of every direction its low and its high side; u = 0 at all unless given.

    Raises:
        ValueError: for other than one or two directions, sizes that are not positive, or boundaries that do not fit.
    """

    shape: tuple[int, ...]
    spacing_metre: tuple[float, ...] | float
    sides: tuple[tuple[Side, Side], ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "shape", tuple(self.shape))
        d = len(self.shape)
        if d not in (1, 2) or any(type(n) is not int or n < 1 for n in self.shape):
            raise ValueError(f"grid of shape {self.shape}: expected one or two numbers of cells, each 1 or more")
        spacing = self.spacing_metre
        set_(self, "spacing_metre", tuple(spacing) if isinstance(spacing, tuple | list) else (float(spacing),) * d)
        if len(self.steps) != d or not all(0 < h < math.inf for h in self.steps):
            raise ValueError(f"spacing_metre = {spacing}: expected a positive number, or {d} of them")
        set_(self, "sides", tuple(tuple(pair) for pair in self.sides) or ((dirichlet(), dirichlet()),) * d)
        if len(self.sides) != d or any(len(pair) != 2 for pair in self.sides):
            raise ValueError(f"sides: expected a low and a high side in each of {d} directions")
        for axis, pair in enumerate(self.sides):
            if len({side.kind == "periodic" for side in pair}) > 1:
                raise ValueError(f"direction {axis} is periodic at one side only: expected at both or none")
            for side in pair:
                along = self.shape[:axis] + self.shape[axis + 1 :]
                if isinstance(side.value, Tensor) and side.value.ndim and side.value.shape != along:
                    raise ValueError(
                        f"value of shape {tuple(side.value.shape)} at a side of direction {axis}: expected {along}"
                    )

    @property
    def steps(self) -> tuple[float, ...]:
        """Spacing in every direction, in metres."""
        assert isinstance(self.spacing_metre, tuple)
        return self.spacing_metre

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @property
    def cell_volume(self) -> float:
        """Length of a cell in metres, or its area in square metres."""
        return math.prod(self.steps)

    @property
    def floats(self) -> bool:
        """Whether no side holds u itself: u is then determined up to a constant."""
        return all(side.kind != "dirichlet" for pair in self.sides for side in pair)

    def centres(self) -> tuple[Tensor, ...]:
        """Return the coordinates of all centres in metres, one tensor of the grid's shape for each direction."""
        axes = [h * (torch.arange(n, dtype=torch.float64) + 0.5) for n, h in zip(self.shape, self.steps)]
        return torch.meshgrid(*axes, indexing="ij")

    def divergence(self, u: Tensor, permeability: Tensor | None = None) -> Tensor:
        """Return ``∇·(a∇u)``, boundaries included, shaped like u; differentiable in both.

        Args:
            u: shape ``(batch, *shape)``.
            permeability: a > 0, shape ``(batch, *shape)`` or ``shape``; 1 unless given.
        """
        a = torch.ones_like(u) if permeability is None else permeability.to(u).expand_as(u)
        found = torch.zeros_like(u)
        for axis, (h, sides) in enumerate(zip(self.steps, self.sides)):
            found = found + self._along(u.movedim(axis + 1, -1), a.movedim(axis + 1, -1), h, sides).movedim(
                -1, axis + 1
            )
        return found

    def operator(self, permeability: Tensor | None = None) -> tuple[sparse.csr_array, np.ndarray]:
        """Return L and g with ``∇·(a∇u) ≈ L u + g``, u flattened: L ``(n, n)``, symmetric; g of the boundaries."""
        a = torch.ones(self.shape, dtype=torch.float64) if permeability is None else permeability.double()
        if a.shape != self.shape or not bool((a > 0).all() and a.isfinite().all()):
            raise ValueError(f"permeability of shape {tuple(a.shape)}: expected {self.shape}, positive and finite")
        index = torch.arange(self.size).view(self.shape)
        rows, columns, values = [], [], []
        for axis, (h, (low, _)) in enumerate(zip(self.steps, self.sides)):
            i, c = index.movedim(axis, -1), a.movedim(axis, -1)
            pairs = [(i[..., :-1], i[..., 1:], c[..., :-1], c[..., 1:])]
            if low.kind == "periodic":
                pairs.append((i[..., -1], i[..., 0], c[..., -1], c[..., 0]))
            for left, right, a_left, a_right in pairs:
                t = (_harmonic(a_left, a_right) / h**2).reshape(-1)
                one, two = left.reshape(-1), right.reshape(-1)
                rows += [one, two, one, two]
                columns += [two, one, one, two]
                values += [t, t, -t, -t]
            for side, end in zip(self.sides[axis], (0, -1)):
                if side.kind == "dirichlet":
                    at = i[..., end].reshape(-1)
                    rows.append(at)
                    columns.append(at)
                    values.append(-(2 * c[..., end] / h**2).reshape(-1))
        entries = [torch.cat(part).numpy() for part in (values, rows, columns)]
        matrix = sparse.coo_array((entries[0], (entries[1], entries[2])), shape=(self.size,) * 2)
        zero = torch.zeros(1, *self.shape, dtype=torch.float64)
        return sparse.csr_array(matrix), self.divergence(zero, a).reshape(-1).numpy()

    def _along(self, u: Tensor, a: Tensor, h: float, sides: tuple[Side, Side]) -> Tensor:
        """Differences of the fluxes a ∂u/∂x in the last dimension."""
        inner = _harmonic(a[..., :-1], a[..., 1:]) * (u[..., 1:] - u[..., :-1]) / h
        if sides[0].kind == "periodic":
            low = high = _harmonic(a[..., -1], a[..., 0]) * (u[..., 0] - u[..., -1]) / h
        else:
            low, high = (
                sign * _flux_out(u[..., end], a[..., end], h, side) for side, end, sign in zip(sides, (0, -1), (-1, 1))
            )
        flux = torch.cat([low[..., None], inner, high[..., None]], dim=-1)
        return (flux[..., 1:] - flux[..., :-1]) / h


def _flux_out(u: Tensor, a: Tensor, h: float, side: Side) -> Tensor:
    """``a ∂u/∂n`` at a side, half a cell away from the centre."""
    value = side.value.to(u) if isinstance(side.value, Tensor) else side.value
    if side.kind == "neumann":
        return torch.zeros_like(u) + value
    return 2 * a * (value - u) / h


def _harmonic(a: Tensor, b: Tensor) -> Tensor:
    return 2 * a * b / (a + b)
