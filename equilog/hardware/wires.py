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
through the word lines included. Both cost one sparse factorisation a programmed array and nothing a sample.

:class:`~equilog.hardware.ProgrammedLayer` keeps one neuron a row; its drivers are columns. Transpose it for here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.autograd.function import once_differentiable

Array = NDArray[np.float64]


def effective_conductance(g_siemens: Tensor, r_wordline_ohm: float, r_bitline_ohm: float) -> Tensor:
    """Return the conductances that an array with resistive lines appears to have.

    Entry (i, j) is the current into virtual ground j for one volt at driver i, all other drivers at zero. Geometry as
    drawn in :mod:`equilog.hardware.wires`. Differentiable once in `g_siemens`, by an adjoint solve; computed in
    float64, returned in the dtype and on the device of `g_siemens`.

    Args:
        g_siemens: device conductances, shape ``(rows, columns)``: driven word lines × grounded bit lines.
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
        ``G_eff`` of shape ``(rows, columns)`` and ``L`` of shape ``(columns, columns)``; with ideal lines the devices
        themselves and the diagonal of their column sums.
    """
    _check(g_siemens, r_wordline_ohm, r_bitline_ohm)
    if r_wordline_ohm == 0 and r_bitline_ohm == 0:
        return g_siemens, g_siemens.sum(0).diag()
    effective, load = _LoadedConductance.apply(g_siemens, float(r_wordline_ohm), float(r_bitline_ohm))
    return effective, load


def _check(g_siemens: Tensor, r_wordline_ohm: float, r_bitline_ohm: float) -> None:
    if g_siemens.ndim != 2 or 0 in g_siemens.shape:
        raise ValueError(f"expected conductances of shape (rows, columns), got {tuple(g_siemens.shape)}")
    if not bool(((g_siemens >= 0) & (g_siemens < math.inf)).all()):
        raise ValueError("a conductance is negative, inf or nan")
    for name, value in (("r_wordline_ohm", r_wordline_ohm), ("r_bitline_ohm", r_bitline_ohm)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: expected a resistance of 0 or more, got {value}")


class _LoadedConductance(torch.autograd.Function):
    """G ↦ (G_eff, L), with its gradient from one adjoint solve; see :class:`_Array`."""

    @staticmethod
    def forward(ctx: Any, g_siemens: Tensor, r_w: float, r_b: float) -> tuple[Tensor, Tensor]:
        ctx.array = _Array(g_siemens.detach().to("cpu", torch.float64).numpy(), r_w, r_b)
        ctx.like = g_siemens
        return torch.from_numpy(ctx.array.effective()).to(g_siemens), torch.from_numpy(ctx.array.load()).to(g_siemens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_effective: Tensor, of_load: Tensor) -> tuple[Tensor, None, None]:
        weights = [grad.detach().to("cpu", torch.float64).numpy() for grad in (of_effective, of_load)]
        return torch.from_numpy(ctx.array.gradient(*weights)).to(ctx.like), None, None


class _Array:
    """The nodal equations of one array, factorised once.

    Every node of the circuit is inner, or a port: a driver or a virtual ground, whose voltage is given. With the
    Laplacian ``[[K, P], [Pᵀ, L]]`` the inner nodes are at ``x = −K⁻¹ P v``, and the ports draw ``Pᵀx + L v``. A line
    without resistance is its port and has no inner nodes.

    Gradient: a device appears in the Laplacian as g (e_a − e_b)(e_a − e_b)ᵀ, so that dG_eff[i, j]/dg is the voltage
    across it for one volt at driver i times that for one volt at ground j (Tellegen; K is its own transpose).
    """

    def __init__(self, g: Array, r_w: float, r_b: float) -> None:
        rows, columns = self.shape = g.shape
        size = rows * columns
        inner = size * ((r_w > 0) + (r_b > 0))
        driver = inner + np.arange(rows)[:, None]
        ground = inner + rows + np.arange(columns)[None, :]
        crossing = np.arange(size).reshape(g.shape)
        self.word = crossing if r_w > 0 else np.broadcast_to(driver, g.shape)
        self.bit = crossing + inner - size if r_b > 0 else np.broadcast_to(ground, g.shape)
        branches = [(self.word, self.bit, g)]
        if r_w > 0:
            branches.append((np.hstack([driver, self.word[:, :-1]]), self.word, np.full(g.shape, 1 / r_w)))
        if r_b > 0:
            branches.append((np.vstack([self.bit[1:], ground]), self.bit, np.full(g.shape, 1 / r_b)))
        a, b, siemens = (np.concatenate([branch[k].ravel() for branch in branches]) for k in range(3))
        values = np.concatenate([siemens, siemens, -siemens, -siemens])
        places = np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a])
        laplacian = coo_matrix((values, places), shape=(inner + rows + columns,) * 2).tocsc()
        self.inner = inner
        self.to_driver = laplacian[:inner, inner : inner + rows]
        self.to_ground = laplacian[:inner, inner + rows :]
        self.at_ground = laplacian[inner + rows :, inner + rows :]
        # Symmetric and diagonally dominant: no pivoting needed, and an ordering for symmetric matrices.
        self.factor = splu(
            laplacian[:inner, :inner],
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def effective(self) -> Array:
        """Return G_eff."""
        found = np.empty(self.shape)
        for part in _parts(self.shape[0]):
            x = -self.factor.solve(self.to_driver[:, part].toarray())
            found[part] = -(self.to_ground.T @ x).T
        return found

    def load(self) -> Array:
        """Return L, the ports' own conductance as seen from the virtual grounds."""
        columns = self.shape[1]
        found = np.empty((columns, columns))
        for part in _parts(columns):
            x = -self.factor.solve(self.to_ground[:, part].toarray())
            found[part] = (self.to_ground.T @ x + self.at_ground[:, part].toarray()).T
        return found

    def gradient(self, of_effective: Array, of_load: Array) -> Array:
        """Return the derivative of ``Σ of_effective · G_eff + Σ of_load · L`` with respect to every device."""
        rows, columns = self.shape
        total = np.zeros(self.shape)
        for part in _parts(columns):
            # All ports at once, as the current of each virtual ground weighs them: it counts inwards in G_eff.
            ports = np.vstack([of_effective[:, part], -of_load[:, part]])
            ends = np.vstack([np.zeros((rows, columns)), np.eye(columns)])[:, part]
            both = np.hstack([ports, ends])
            inner = -self.factor.solve(self.to_driver @ both[:rows] + self.to_ground @ both[rows:])
            voltage = np.vstack([inner, both])
            across = voltage[self.word] - voltage[self.bit]
            weighted, from_ground = np.split(across, 2, axis=-1)
            total -= (weighted * from_ground).sum(-1)
        return total


def _parts(count: int) -> list[slice]:
    """Right-hand sides some at a time: all at once would be gigabytes for 512 × 512."""
    return [slice(k, min(k + 32, count)) for k in range(0, count, 32)]
