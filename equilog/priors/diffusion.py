"""Diffusion on grids and graphs: Poisson, screened Poisson, Darcy, and an implicit step of the heat equation.

All are written so that the residual rises with the state: their A is symmetric and positive definite, which a chip
holds with any common scale. The five-point scheme: LeVeque, *Finite Difference Methods for Ordinary and Partial
Differential Equations*, SIAM 2007, ch. 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from equilog.priors import units
from equilog.priors.grid import Grid
from equilog.priors.law import Field, Law
from equilog.priors.linear_law import LinearLaw


def poisson(grid: Grid, *, unit: str = "", scale: float = 1.0, name: str = "potential") -> LinearLaw:
    """Return ``−∇²u = f``.

    Args:
        grid: one side at least with u given, or it floats.
        unit: of u; f is in that per square metre.
        scale: what counts as one in the residual.
        name: of u.

    Raises:
        ValueError: for a grid that floats.
    """
    return screened_poisson(grid, 0.0, unit=unit, scale=scale, name=name)


def screened_poisson(
    grid: Grid, screening_per_metre: float, *, unit: str = "", scale: float = 1.0, name: str = "potential"
) -> LinearLaw:
    """Return ``−∇²u + κ² u = f``: a charge in an electrolyte (Debye & Hückel 1923), a cable with a leak.

    Raises:
        ValueError: for a negative κ, or a grid that floats while κ is zero.
    """
    if screening_per_metre < 0:
        raise ValueError(f"screening_per_metre = {screening_per_metre}: expected 0 or more")
    if not screening_per_metre:
        _check_held(grid, name)
    laplacian, boundary = grid.operator()
    a = screening_per_metre**2 * sparse.eye_array(grid.size) - laplacian
    rate = f"({unit or '1'})/m^2"
    return LinearLaw(
        a,
        sparse.eye_array(grid.size),
        boundary,
        state=Field(name, grid.shape, unit),
        sources=Field("source", grid.shape, rate),
        unit=rate,
        scale=scale,
    )


def darcy(
    grid: Grid,
    permeability: Tensor,
    *,
    unit: str = "Pa",
    permeability_unit: str = "m^2/(Pa*s)",
    source_unit: str = "1/s",
    scale: float = 1.0,
) -> LinearLaw:
    """Return ``−∇·(a∇u) = f``: flow through a porous medium (Darcy 1856), or heat through one of varying conductivity.

    Args:
        grid: one side at least with u given.
        permeability: a > 0 of every cell, shape ``grid.shape``: over viscosity, or a conductivity.
        unit, permeability_unit, source_unit: of u, a and f; with a in W/(m·K) and u in K, f in W/m³.
        scale: what counts as one in the residual.

    Raises:
        ValueError: for a grid that floats, another shape, or units that do not combine.
    """
    _check_held(grid, "pressure")
    units.agree(source_unit, f"({permeability_unit or '1'})*({unit or '1'})/m^2", "source")
    operator, boundary = grid.operator(permeability)
    return LinearLaw(
        -operator,
        sparse.eye_array(grid.size),
        boundary,
        state=Field("pressure", grid.shape, unit),
        sources=Field("source", grid.shape, source_unit),
        unit=source_unit,
        scale=scale,
    )


def darcy_of_permeability(
    grid: Grid,
    source: Tensor | float,
    *,
    unit: str = "Pa",
    permeability_unit: str = "m^2/(Pa*s)",
    scale: float = 1.0,
) -> Law:
    """Return the same law with f fixed and a the input: which pressure belongs to which medium. Not linear in both.

    Raises:
        ValueError: for a grid that floats, or a source of another shape.
    """
    _check_held(grid, "pressure")
    f = torch.as_tensor(source, dtype=torch.float64).expand(grid.shape)
    rate = f"({permeability_unit or '1'})*({unit or '1'})/m^2"
    fields = Field("pressure", grid.shape, unit), Field("permeability", grid.shape, permeability_unit)
    for of in fields:
        units.read(of.unit, of.name)
    # The grid's lengths are in metres and its boundary values in units of these fields: nothing is left to compare.
    return Law(lambda u, a: -grid.divergence(u, a) - f.to(u), *fields, unit=rate, scale=scale, checked=False)


def heat_step(grid: Grid, diffusivity: float, step_second: float, *, unit: str = "K", scale: float = 1.0) -> LinearLaw:
    """Return ``u⁺ − τ D ∇²u⁺ = u + τ q``, one backward Euler step of ``u̇ = D∇²u + q``: stable for every τ.

    Args:
        grid: any boundaries.
        diffusivity: D ≥ 0 in m²/s.
        step_second: τ > 0.
        unit: of u; sources are u before the step, and q in that per second.
        scale: what counts as one in the residual.

    Raises:
        ValueError: for numbers out of range.
    """
    if not diffusivity >= 0 or not step_second > 0:
        raise ValueError(f"diffusivity = {diffusivity}, step_second = {step_second}: expected ≥ 0 and > 0")
    laplacian, boundary = grid.operator()
    eye = sparse.eye_array(grid.size)
    return LinearLaw(
        eye - step_second * diffusivity * laplacian,
        sparse.hstack([eye, step_second * eye]),
        step_second * diffusivity * boundary,
        state=Field("temperature", grid.shape, unit),
        sources=(Field("temperature before", grid.shape, unit), Field("heating", grid.shape, f"({unit or '1'})/s")),
        unit=unit,
        scale=scale,
    )


def graph_laplacian(nodes: int, edges: Sequence[tuple[int, int]], weights: Tensor) -> sparse.csr_array:
    """Return L with ``(L u)_i = Σ_j w_ij (u_i − u_j)``, shape ``(nodes, nodes)``: symmetric, row sums zero.

    Args:
        nodes: how many.
        edges: pairs of different nodes; the same pair twice adds up.
        weights: w ≥ 0, one an edge.

    Raises:
        ValueError: for an edge to itself or to a node that is none, or a negative weight.
    """
    w = weights.detach().double().reshape(-1).numpy()
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if len(w) != len(pairs) or not ((w >= 0).all() and np.isfinite(w).all()):
        raise ValueError(f"weights of {len(pairs)} edges: expected as many numbers of 0 or more, got {len(w)}")
    bad = (pairs < 0).any(1) | (pairs >= nodes).any(1) | (pairs[:, 0] == pairs[:, 1])
    if bad.any():
        raise ValueError(f"edge {tuple(pairs[bad][0].tolist())}: expected two different nodes from 0 to {nodes - 1}")
    i, j = pairs.T
    values = np.concatenate([-w, -w, w, w])
    places = np.concatenate([i, j, i, j]), np.concatenate([j, i, i, j])
    return sparse.csr_array(sparse.coo_array((values, places), shape=(nodes, nodes)))


def graph_diffusion(
    nodes: int,
    edges: Sequence[tuple[int, int]],
    weights: Tensor,
    leak: Tensor,
    *,
    unit: str = "",
    weight_unit: str = "",
    scale: float = 1.0,
) -> LinearLaw:
    """Return ``Σ_j w_ij (u_i − u_j) + g_i u_i = f_i``: steady diffusion on a graph, voltages of a resistive network.

    Args:
        nodes, edges, weights: see :func:`graph_laplacian`.
        leak: g ≥ 0, shape ``(nodes,)``; above zero somewhere in every connected part, or the law is singular.
        unit, weight_unit: of u, and of w and g; f is in their product.
        scale: what counts as one in the residual.

    Raises:
        ValueError: as :func:`graph_laplacian`, or for another leak.
    """
    if leak.shape != (nodes,) or not bool((leak >= 0).all()):
        raise ValueError(f"leak of shape {tuple(leak.shape)}: expected ({nodes},), 0 or more")
    a = graph_laplacian(nodes, edges, weights) + sparse.diags_array(leak.detach().double().numpy())
    parts, label = sparse.csgraph.connected_components(a)
    held = np.bincount(label, leak.detach().double().numpy(), parts) > 0
    if not held.all():
        loose = int(np.flatnonzero(~held[label])[0])
        raise ValueError(f"node {loose} has no leak anywhere in its part of the graph: its value is not determined")
    flow = f"({weight_unit or '1'})*({unit or '1'})"
    return LinearLaw(
        a,
        sparse.eye_array(nodes),
        state=Field("value at node", (nodes,), unit),
        sources=Field("inflow", (nodes,), flow),
        unit=flow,
        scale=scale,
    )


def _check_held(grid: Grid, name: str) -> None:
    if grid.floats:
        raise ValueError(
            f"{name} is given at no side of the grid, so any constant may be added: make one side dirichlet"
        )
