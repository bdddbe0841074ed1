"""Wire resistance: what a crossbar conducts when its lines do.

Two word lines and three bit lines, devices ``G`` at the crossings, a resistance ``r`` for every segment of line:

    V_0 ──r_w──o──r_w──o──r_w──o          drivers on the left: word line = row of G
               │G      │G      │G         (each device joins the word line to the bit line
    V_1 ──r_w──o──r_w──o──r_w──o           below it, at the same crossing)
               │G      │G      │G
              r_b     r_b     r_b         r_b also between the crossings along each bit line
               │       │       │
              I_0     I_1     I_2         virtual grounds below: bit line = column of G

The segment from a driver to its first device counts, and so does the one from the last device to the virtual ground:
M word lines and N bit lines have M·N segments of either kind. Nothing lies beyond the last device of a word line or
above the first of a bit line. Row 0 is farthest from the virtual grounds, column 0 nearest to the drivers.

Between ideal drivers ``V`` and virtual grounds at voltages ``x`` the array is linear, ``I = G_effᵀ V − L x``: G_eff is
what the devices appear to conduct, and the load L how every virtual ground is held by the array, by its neighbours
through the word lines included. Both cost one elimination a programmed array and nothing a sample.

:class:`~equilog.hardware.ProgrammedLayer` keeps one neuron a row; its drivers are columns. Transpose it for here.
:mod:`equilog.hardware.wire_drops` has an approximation for training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MEMORY = 2**25
"""Numbers that an elimination may keep (256 MiB); what is not kept is computed twice."""


def effective_conductance(g_siemens: Tensor, r_wordline_ohm: float, r_bitline_ohm: float) -> Tensor:
    """Return the conductances that an array with resistive lines appears to have.

    Entry (i, j) is the current into virtual ground j for one volt at driver i, all other drivers at zero. Geometry as
    drawn in :mod:`equilog.hardware.wires`. Differentiable once in `g_siemens`, by an adjoint solve; computed in
    float64 on the CPU, returned in the dtype and on the device of `g_siemens`.

    Args:
        g_siemens: device conductances, shape ``(rows, columns)``: driven word lines × grounded bit lines; or
            ``(…, rows, columns)`` for several arrays.
        r_wordline_ohm: of every segment of word line; 0 for ideal ones.
        r_bitline_ohm: of every segment of bit line; 0 for ideal ones.

    Returns:
        ``G_eff``, same shape; `g_siemens` itself if both resistances are zero.

    Raises:
        ValueError: for another shape, a conductance or resistance that is negative or not finite.
    """
    return loaded_conductance(g_siemens, r_wordline_ohm, r_bitline_ohm)[0]


def loaded_conductance(g_siemens: Tensor, r_wordline_ohm: float, r_bitline_ohm: float) -> tuple[Tensor, Tensor]:
    """Return the apparent conductances of an array with resistive lines, and its load on the virtual grounds.

    Arguments and errors as :func:`effective_conductance`, which returns the first of the two. The load's entry (i, j)
    is the current that one volt at virtual ground j draws out of virtual ground i, negative where i ≠ j; symmetric.

    Returns:
        ``G_eff`` of shape ``(…, rows, columns)`` and ``L`` of shape ``(…, columns, columns)``; with ideal lines the
        devices themselves and the diagonal of their column sums.
    """
    _check(g_siemens, r_wordline_ohm, r_bitline_ohm)
    if r_wordline_ohm == 0 and r_bitline_ohm == 0:
        return g_siemens, g_siemens.sum(-2).diag_embed()
    effective, load = _LoadedConductance.apply(g_siemens, float(r_wordline_ohm), float(r_bitline_ohm))
    return effective, load


def _check(g_siemens: Tensor, r_wordline_ohm: float, r_bitline_ohm: float) -> None:
    if g_siemens.ndim < 2 or 0 in g_siemens.shape:
        raise ValueError(f"expected conductances of shape (…, rows, columns), got {tuple(g_siemens.shape)}")
    if not bool(((g_siemens >= 0) & (g_siemens < math.inf)).all()):
        raise ValueError("a conductance is negative, inf or nan")
    for name, value in (("r_wordline_ohm", r_wordline_ohm), ("r_bitline_ohm", r_bitline_ohm)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: expected a resistance of 0 or more, got {value}")


@contextmanager
def _one_thread(columns: int) -> Iterator[None]:
    """Let one thread multiply matrices that are too small for two: they would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if columns <= 256 else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _LoadedConductance(torch.autograd.Function):
    """G ↦ (G_eff, L), with its gradient from one adjoint solve; see :class:`_Array`."""

    @staticmethod
    def forward(ctx: Any, g_siemens: Tensor, r_w: float, r_b: float) -> tuple[Tensor, Tensor]:
        with _one_thread(g_siemens.shape[-1]):
            array = _Array(g_siemens.detach().to("cpu", torch.float64), r_w, r_b)
            effective = array.effective()
        ctx.array, ctx.like = array, g_siemens
        return effective.to(g_siemens), array.load.to(g_siemens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_effective: Tensor, of_load: Tensor) -> tuple[Tensor, None, None]:
        weights = [grad.detach().to("cpu", torch.float64) for grad in (of_effective, of_load)]
        with _one_thread(of_effective.shape[-1]):
            found = ctx.array.gradient(*weights)
        return found.to(ctx.like), None, None


class _Array:
    """One array, eliminated word line by word line from the one farthest from the virtual grounds.

    Seen from its crossings with the bit lines, a word line whose driver is at V draws ``S (V 1 − b)`` into bit lines at
    voltages b, with ``S = (1/G + R)⁻¹``: its devices, behind the ``R_jk = r_w (min(j, k) + 1)`` that columns j and k
    share (counted from 0). All word lines down to the i-th, drivers at zero, look like ``Y_i`` from the bit lines
    there, and one segment further down, where the next word line joins in, like

        X_i = (Y_i⁻¹ + r_b I)⁻¹ = (I + r_b Y_i)⁻¹ Y_i,      Y_{i+1} = S_{i+1} + X_i,

    so that ``L = X`` of the last. Voltages come back up as ``b_i = (I − r_b X_i)(b_{i+1} + r_b N_i)``, N_i being what
    the drivers push into the lines above. A driver's current for one volt at ground j is entry j of its row of G_eff,
    the array being reciprocal. Dense matrices of the size of a word line: O(rows · columns³).

    Gradient: a device appears in the nodal equations as g (e_a − e_b)(e_a − e_b)ᵀ, so that dG_eff[i, j]/dg is the
    voltage across it for one volt at driver i times that for one volt at ground j (Tellegen).
    """

    def __init__(self, g: Tensor, r_w: float, r_b: float) -> None:
        self.g, self.r_b = g, r_b
        self.rows, columns = g.shape[-2:]
        self.eye = torch.eye(columns, dtype=g.dtype).expand(*g.shape[:-2], columns, columns)
        self.word = _WordLines(g, r_w)
        self.own = torch.empty_like(g)  # S 1 of every word line
        self.seen = _Recalled(self._seen, self.rows, self.eye.numel())
        self.load = self.seen[self.rows - 1]

    def _seen(self, i: int, above: Tensor | None) -> Tensor:
        """Return X_i given X_{i−1}."""
        y = self.word.admittance(i)
        self.own[..., i, :] = y.sum(-1)
        y = y if above is None else y + above
        return torch.cholesky_solve(y, torch.linalg.cholesky(self.eye + self.r_b * y))

    def _up(self, i: int, b: Tensor) -> Tensor:
        """Return ``(I − r_b X_i) b``."""
        return b - self.r_b * (self.seen[i] @ b)

    def effective(self) -> Tensor:
        """Return G_eff."""
        found, b = torch.empty_like(self.g), self.eye
        for i in reversed(range(self.rows)):
            b = self._up(i, b)
            found[..., i, :] = (self.own[..., i, None, :] @ b)[..., 0, :]
        return found

    def gradient(self, of_effective: Tensor, of_load: Tensor) -> Tensor:
        """Return the derivative of ``Σ of_effective · G_eff + Σ of_load · L`` with respect to every device."""

        def pushed(i: int, above: Tensor | None) -> Tensor:
            here = self.own[..., i, :, None] * of_effective[..., i, None, :]
            return here if above is None else here + self._up(i - 1, above)

        # For every ground: all ports at once, as its current weighs them (it counts inwards in G_eff); and it alone.
        sources = _Recalled(pushed, self.rows, self.eye.numel())
        weighted, alone = -of_load, self.eye
        found = torch.empty_like(self.g)
        for i in reversed(range(self.rows)):
            both = self._up(i, torch.cat([weighted + self.r_b * sources[i], alone], dim=-1))
            weighted, alone = both.chunk(2, dim=-1)
            driven = torch.cat([of_effective[..., i, None, :] - weighted, -alone], dim=-1)
            across = self.word.across(i, driven).chunk(2, dim=-1)
            found[..., i, :] = -(across[0] * across[1]).sum(-1)
        return found


class _WordLines:
    """Each word line by itself: a chain of resistances r_w with a device at every node.

    With the devices' far ends at zero its nodal matrix is tridiagonal, ``K + G``, and the inverse H of such a matrix is
    known from its pivots: ``H_jk = H_kk Π_{j ≤ l < k} 1/(r_w δ_l)``. ``S = G − G H G``.
    """

    def __init__(self, g: Tensor, r_w: float) -> None:
        self.g, self.r_w = g, r_w
        columns = g.shape[-1]
        own = (2 + r_w * g).unbind(-1)  # of r_w (K + G), whose other diagonals are −1
        own = (*own[:-1], own[-1] - 1)
        pivots = [own[0]]
        for j in range(1, columns):
            pivots.append(own[j] - 1 / pivots[-1])
        last = [1 / pivots[-1]]
        for pivot in reversed(pivots[:-1]):
            last.append((1 + last[-1] / pivot) / pivot)
        self.diagonal = r_w * torch.stack(last[::-1], -1)
        logs = torch.stack(pivots, -1).log()
        self.decay = torch.cumsum(logs, -1) - logs
        place = torch.arange(columns)
        self.later = torch.maximum(place[:, None], place)

    def _inverse(self, i: int) -> Tensor:
        """Return H of word line i, shape ``(…, columns, columns)``."""
        decay = self.decay[..., i, :]
        return self.diagonal[..., i, self.later] * (-(decay[..., :, None] - decay[..., None, :]).abs()).exp()

    def admittance(self, i: int) -> Tensor:
        """Return S, the current that its devices draw from bit lines at one volt, shape ``(…, columns, columns)``."""
        g = self.g[..., i, :]
        return g.diag_embed() - g[..., :, None] * self._inverse(i) * g[..., None, :]

    def across(self, i: int, volts: Tensor) -> Tensor:
        """Return ``(I − H G) volts``: what is across the devices where that is driven across line and devices."""
        return volts - self._inverse(i) @ (self.g[..., i, :, None] * volts)


class _Recalled:
    """A sequence in which each member follows from the one before; kept whole, or in part and computed again.

    Args:
        follow: ``(i, member i − 1 or None) -> member i``.
        count: of members.
        size: numbers in one.
    """

    def __init__(self, follow: Callable[[int, Tensor | None], Tensor], count: int, size: int) -> None:
        self.follow = follow
        self.every = 1 if count * size <= MEMORY else math.isqrt(count) + 1
        self.kept: dict[int, Tensor] = {}
        member = None
        for i in range(count):
            member = follow(i, member)
            if i % self.every == 0 or i == count - 1:
                self.kept[i] = member
        self.recent: dict[int, Tensor] = {}

    def __getitem__(self, i: int) -> Tensor:
        if i in self.kept:
            return self.kept[i]
        if i not in self.recent:
            first = i - i % self.every
            member = self.kept[first]
            self.recent = {}
            for k in range(first + 1, i + 1):
                self.recent[k] = member = self.follow(k, member)
        return self.recent[i]
