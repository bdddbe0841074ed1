"""A measured activation: the monotone spline through its points, and the error when a state rests beyond them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

from equilog.cells.activation import Activation, Mixed

MAX_POINTS = 1000
"""Every activation block of the netlist holds the whole spline: more points only make the simulator slow."""

# Below this many states the binary search wins, above it (its branches are unpredictable) the table of cells.
_FEW = 4096
_MAX_CELLS = 2**14


class OutsideCurveError(ValueError):
    """A state rests where the activation was never measured."""


class MonotoneSpline:
    """A rising C¹ piecewise cubic through given points, constant beyond the first and the last.

    Slopes at the points are those of the C² cubic spline (not-a-knot ends), limited to
    ``0 ≤ mₖ ≤ 3 min(δₖ₋₁, δₖ)``, δ: slopes of the chords. That is enough for every piece to be monotone (Fritsch &
    Carlson, SIAM J. Numer. Anal. 17 (1980) 238; the square region is de Boor & Swartz's, J. Approx. Theory 21 (1977)
    411). Where the limit does not bite, the error falls with the fourth power of the spacing; the harmonic means of
    PCHIP lose one order and the second derivative's continuity.

    Beyond the points the value is held and the slope is 0: a solver on its way through there meets finite numbers, and
    a bounded activation has a resting point whatever the weight is (Brouwer), which a linear continuation would not.

    Args:
        knots: inputs, rising, 4 to 1000 of them.
        values: outputs, rising or flat.

    Attributes:
        knots, values: as given, shape ``(points,)``, float64.
        coefficients: of every piece in powers of ``x − knot``, constant first; shape ``(points − 1, 4)``, float64.
        max_slope: the largest slope anywhere.

    Raises:
        ValueError: if the points are too few, too many, not finite or do not rise.
    """

    @torch.inference_mode(False)  # splines are kept: one made while validating must serve training
    def __init__(self, knots: Sequence[float] | Tensor, values: Sequence[float] | Tensor) -> None:
        x, y = (torch.as_tensor(v, dtype=torch.float64, device="cpu").detach().clone() for v in (knots, values))
        _check(x, y)
        self.knots, self.values = x, y
        h, chord = x.diff(), y.diff() / x.diff()
        m = _slopes(h, chord)
        second = (3 * chord - 2 * m[:-1] - m[1:]) / h
        third = (m[:-1] + m[1:] - 2 * chord) / h.square()
        self.coefficients = torch.stack([y[:-1], m[:-1], second, third], dim=1)
        # A parabola is largest at its ends or, between them, where its derivative vanishes.
        vertex = torch.where(third != 0, -second / (3 * third), 0).nan_to_num(0).clamp(min=0).minimum(h)
        self.max_slope = max(float(m.max()), float((m[:-1] + vertex * (2 * second + 3 * third * vertex)).max()))
        self._tables: dict[tuple[torch.dtype, torch.device], _Table] = {}

    def __repr__(self) -> str:
        return f"MonotoneSpline({len(self.knots)} points from {self.knots[0]:.6g} to {self.knots[-1]:.6g})"

    def __call__(self, x: Tensor) -> Tensor:
        """Return the spline at ``x``, elementwise; differentiable any number of times."""
        t, c0, c1, c2, c3 = self._pieces(x)
        return (c0 + t * (c1 + t * (c2 + t * c3))).view(x.shape)

    def slope(self, x: Tensor) -> Tensor:
        """Return the derivative at ``x``, elementwise, never negative; differentiable itself."""
        t, _, c1, c2, c3 = self._pieces(x)
        # Where the derivative touches zero, rounding must not push it below: certificates want slopes ≥ 0.
        return (c1 + t * (2 * c2 + 3 * c3 * t)).clamp(min=0).view(x.shape).masked_fill(self.outside(x), 0)

    def outside(self, x: Tensor) -> Tensor:
        """Return whether ``x`` lies beyond the first or last point, elementwise; nan does not."""
        table = self._table(x)
        return (x < table.low) | (x > table.high)

    def _pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return ``x`` relative to its piece's knot (clamped to the domain) and the piece's coefficients, all flat."""
        table = self._table(x)
        clamped = x.clamp(table.low, table.high).reshape(-1)
        where = clamped.detach()
        if table.cells and len(where) > _FEW:
            cell = ((where - table.low) * table.cells_per_unit).long().clamp_(0, table.cells - 1)  # nan included
            piece = table.first.index_select(0, cell) + (where >= table.next_knot.index_select(0, cell))
            knot, *coefficients = (column.index_select(0, piece) for column in table.columns)
        else:
            piece = torch.bucketize(where, table.inner, right=True)
            knot, *coefficients = embedding(piece, table.rows).unbind(-1)
        return (clamped - knot, *coefficients)

    def _table(self, like: Tensor) -> _Table:
        key = like.dtype, like.device
        if key not in self._tables:
            self._tables[key] = _tabulate(self.knots, self.coefficients, like)
        return self._tables[key]


@dataclass(frozen=True)
class Curve:
    """``z = gain * f(p − shift)`` with a spline f: an activation as measured, with one neuron's own gain and offset.

    Attributes:
        spline: f, in units of V_a and V_s; shared by all neurons and chips.
        gain, shift: as in :class:`~equilog.cells.Tanh`: numbers, or tensors that broadcast against the state.
        rail: what the output that feeds it cannot exceed, in units of V_a: ``p`` is clipped to ±rail first.
        v_scale_volt: V_a, by which messages turn p into volts.
    """

    spline: MonotoneSpline
    gain: Tensor | float = 1.0
    shift: Tensor | float = 0.0
    rail: float = math.inf
    v_scale_volt: float = 1.0

    @property
    def max_slope(self) -> Tensor | float:
        """Largest slope of every neuron, shaped like `gain`; certify ``W diag(max_slope)`` where it is above 1."""
        return self.gain * self.spline.max_slope

    def __call__(self, p: Tensor) -> Tensor:
        """Map pre-activations ``p`` to states of the same shape."""
        return self._scaled(self.spline(self.entering(p)))

    def slope(self, p: Tensor) -> Tensor:
        """Return the derivative ``dz/dp``, elementwise, same shape as ``p``; 0 beyond the measured points and rails."""
        slope = self._scaled(self.spline.slope(self.entering(p)))
        return slope if self.rail == math.inf else torch.where(p.abs() < self.rail, slope, 0.0)

    def outside(self, p: Tensor) -> Tensor:
        """Return whether each neuron's input lies beyond the measured points, its own offset counted; like ``p``."""
        return self.spline.outside(self.entering(p))

    def entering(self, p: Tensor) -> Tensor:
        """Return what the spline sees: ``p`` within the rails, less every neuron's own shift."""
        if self.rail < math.inf:
            p = p.clamp(-self.rail, self.rail)
        return p if isinstance(self.shift, float) and self.shift == 0.0 else p - self.shift

    def _scaled(self, z: Tensor) -> Tensor:
        return z if isinstance(self.gain, float) and self.gain == 1.0 else self.gain * z


def curve_in(activation: Activation) -> Curve | None:
    """Return the measured curve of an activation, or of the neurons that have one; None if there is none."""
    of = activation.of if isinstance(activation, Mixed) else activation
    return of if isinstance(of, Curve) else None


def outside(activation: Activation, p: Tensor) -> Tensor:
    """Return whether each neuron's input lies where its activation was never measured; boolean, like ``p``."""
    if isinstance(activation, Curve):
        return activation.outside(p)
    beyond = torch.zeros_like(p, dtype=torch.bool)
    curve = curve_in(activation)
    if curve is not None:
        assert isinstance(activation, Mixed)
        own = slice(activation.linear, None)
        beyond[..., own] = curve.outside(activation.entering(p)[..., own])
    return beyond


def check_inside(activation: Activation, p: Tensor) -> None:
    """Refuse a resting state that the activation was never measured at; one that is no :class:`Curve` passes.

    Args:
        activation: of the system that came to rest.
        p: its resting pre-activations, shape ``(batch, n)`` or ``(chips, batch, n)``.

    Raises:
        OutsideCurveError: naming the neuron farthest outside, its voltage and the range that was measured.
    """
    curve = curve_in(activation)
    if curve is None:
        return
    assert isinstance(activation, Curve | Mixed)
    p = p.detach().clamp(-activation.rail, activation.rail)
    beyond = outside(activation, p)
    count = int(beyond.sum())
    if count == 0:
        return
    x = activation.entering(p)
    low, high, volt = float(curve.spline.knots[0]), float(curve.spline.knots[-1]), curve.v_scale_volt
    excess = torch.where(beyond, torch.maximum(low - x, x - high), -torch.inf)
    worst = tuple(int(k) for k in torch.unravel_index(excess.argmax(), p.shape))
    names = [f"{kind} {k}" for kind, k in zip(("neuron", "sample", "chip"), reversed(worst))]
    offset = (float(p[worst]) - float(x[worst])) * volt
    raise OutsideCurveError(
        f"{' of '.join(names)} rests at {float(p[worst]) * volt:.6g} V (its own offset is {offset:.3g} V), but the "
        f"activation was measured from {low * volt:.6g} V to {high * volt:.6g} V; {count} of {p.numel()} states rest "
        "outside. Measure a wider range, or make weights and drives smaller"
    )


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"knots {tuple(x.shape)} and values {tuple(y.shape)}: expected one value for every knot")
    if not 4 <= len(x) <= MAX_POINTS:
        raise ValueError(f"a curve of {len(x)} points: expected 4 to {MAX_POINTS}")
    for name, v, falls in (("knots", x, x.diff() <= 0), ("values", y, y.diff() < 0)):
        if not bool(v.isfinite().all()):
            raise ValueError(f"{name}: point {int((~v.isfinite()).nonzero()[0])} is inf or nan")
        if bool(falls.any()):
            k = int(falls.nonzero()[0])
            raise ValueError(f"{name} must rise: point {k} is {float(v[k])}, point {k + 1} is {float(v[k + 1])}")


def _slopes(h: Tensor, chord: Tensor) -> Tensor:
    """Return the limited slopes at the points for spacings ``h`` and chord slopes, each of shape ``(points − 1,)``."""
    left = h[1:] / (h[:-1] + h[1:])  # weight of the chord on the left, in every inner point
    matrix = torch.diag(torch.full((len(h) + 1,), 2.0, dtype=h.dtype))
    inner = torch.arange(1, len(h))
    matrix[inner, inner - 1], matrix[inner, inner + 1] = left, 1 - left
    right = torch.zeros(len(h) + 1, dtype=h.dtype)
    right[1:-1] = 3 * (left * chord[:-1] + (1 - left) * chord[1:])
    # Not-a-knot: the third derivative does not jump at the last point but one; its neighbour's equation is put in.
    for end, other, a in ((0, 1, left[0]), (-1, -2, 1 - left[-1])):
        matrix[end, end], matrix[end, other] = a, 1
        right[end] = (3 - a) * a * chord[end] + (1 - a).square() * chord[other]
    steepest = 3 * torch.minimum(torch.cat([chord[:1], chord]), torch.cat([chord, chord[-1:]]))
    return torch.linalg.solve(matrix, right).clamp(min=0).minimum(steepest)


class _Table(NamedTuple):
    """A spline in one precision.

    A cell is one of many equal parts of the domain, so narrow that it holds one inner knot at most: ``first`` counts
    the inner knots in cells before it, ``next_knot`` is the knot in it, or inf. Rounding is monotone, so this finds
    exactly the piece that a search finds.
    """

    low: float
    high: float
    inner: Tensor
    rows: Tensor
    columns: tuple[Tensor, ...]
    cells: int
    cells_per_unit: float
    first: Tensor
    next_knot: Tensor


@torch.inference_mode(False)
def _tabulate(knots: Tensor, coefficients: Tensor, like: Tensor) -> _Table:
    x = knots.to(like)
    rows = torch.cat([knots[:-1, None], coefficients], dim=1).to(like)
    low, high, inner = float(x[0]), float(x[-1]), x[1:-1].contiguous()
    columns = tuple(column.contiguous() for column in rows.unbind(1))
    nothing = x.new_empty(0)
    gap = float(x.diff().min())  # 0 where the precision cannot tell two knots apart
    cells = math.ceil((high - low) / gap) + 1 if gap > 0 else _MAX_CELLS + 1
    if cells > _MAX_CELLS:
        return _Table(low, high, inner, rows, columns, 0, 0.0, nothing, nothing)
    per_unit = cells / (high - low)
    cell_of = ((inner - low) * per_unit).long().clamp_(0, cells - 1)
    if len(cell_of.unique()) < len(cell_of):
        return _Table(low, high, inner, rows, columns, 0, 0.0, nothing, nothing)
    first = torch.searchsorted(cell_of, torch.arange(cells, device=like.device))
    next_knot = x.new_full((cells,), math.inf).index_copy(0, cell_of, inner)
    return _Table(low, high, inner, rows, columns, cells, per_unit, first, next_knot)
