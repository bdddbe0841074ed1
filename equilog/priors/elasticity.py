"""Elastic structures at rest, ``K u = f`` in the displacements that supports leave free: trusses, and thin plates.

Trusses: Przemieniecki, *Theory of Matrix Structural Analysis*, 1968, ch. 5. Plane stress: Timoshenko & Goodier, *Theory
of Elasticity*, 3rd ed. 1970, ch. 2, by linear finite elements of scikit-fem (``pip install 'equilog[physics]'``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from equilog.names import UserError
from equilog.priors.law import Field
from equilog.priors.linear_law import LinearLaw

RIGID = 1e-12
"""A stiffness below this share of the largest is none."""


class Elastic(LinearLaw):
    """``K u = f`` in free degrees of freedom: K symmetric and positive definite.

    Attributes:
        free: which of all degrees of freedom the state holds, ``(n,)``; the others are supported.
        total: how many there are.
    """

    def __init__(
        self, stiffness: sparse.csr_array, free: np.ndarray, constant: np.ndarray | None, scale: float
    ) -> None:
        self.free, self.total = free, stiffness.shape[0]
        n = len(free)
        super().__init__(
            stiffness[free][:, free],
            sparse.eye_array(n),
            None if constant is None else constant[free],
            state=Field("displacement", (n,), "m"),
            sources=Field("load", (n,), "N"),
            unit="N",
            scale=scale,
        )

    def displacements(self, u: Tensor) -> Tensor:
        """Return all displacements in metres, supports included, ``(batch, total)``, from free ones ``(batch, n)``."""
        self.state.check(u)
        return u.new_zeros(len(u), self.total).index_copy(1, torch.from_numpy(self.free), u)


def truss(
    nodes: Tensor,
    bars: Sequence[tuple[int, int]],
    axial_stiffness: Tensor | float,
    supports: Sequence[tuple[int, int]],
    *,
    scale: float = 1.0,
) -> Elastic:
    """Return the law of a plane truss; degree of freedom 2 i + k is node i in direction k.

    Args:
        nodes: coordinates in metres, ``(count, 2)``.
        bars: pairs of nodes.
        axial_stiffness: E A in N, a number or one a bar, above 0.
        supports: pairs of node and direction (0 is x, 1 is y) that cannot move.
        scale: newtons that count as one in the residual.

    Raises:
        ValueError: for numbers out of range, or a truss that moves without any bar changing its length.
    """
    xy = nodes.detach().double().numpy()
    count = len(xy)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"nodes of shape {xy.shape}: expected (count, 2), in metres")
    pairs = np.asarray(bars, dtype=np.int64).reshape(-1, 2)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= count):
        raise ValueError(
            f"bars name node {pairs.max() if pairs.min() >= 0 else pairs.min()}: expected 0 to {count - 1}"
        )
    along = xy[pairs[:, 1]] - xy[pairs[:, 0]]
    length = np.linalg.norm(along, axis=1)
    if not (length > 0).all():
        raise ValueError(f"bar {int(np.argmin(length))} has no length: expected two nodes apart")
    ea = np.broadcast_to(np.asarray(torch.as_tensor(axial_stiffness, dtype=torch.float64)), len(pairs))
    if not (ea > 0).all():
        raise ValueError(f"axial_stiffness = {axial_stiffness}: expected above 0, in newtons")
    # Each bar sees the difference of its ends along itself: K = Bᵀ diag(EA/l) B.
    unit = along / length[:, None]
    rows = np.repeat(np.arange(len(pairs)), 4)
    columns = np.stack([2 * pairs[:, 0], 2 * pairs[:, 0] + 1, 2 * pairs[:, 1], 2 * pairs[:, 1] + 1], axis=1)
    values = np.concatenate([-unit, unit], axis=1)
    stretch = sparse.csr_array(
        sparse.coo_array((values.reshape(-1), (rows, columns.reshape(-1))), shape=(len(pairs), 2 * count))
    )
    stiffness = sparse.csr_array(stretch.T @ sparse.diags_array(ea / length) @ stretch)
    wrong = [s for s in supports if not (0 <= s[0] < count and s[1] in (0, 1))]
    if wrong:
        raise ValueError(f"support {tuple(wrong[0])}: expected a node from 0 to {count - 1} and direction 0 or 1")
    held = {2 * node + direction for node, direction in supports}
    free = np.array([k for k in range(2 * count) if k not in held], dtype=np.int64)
    if not len(free):
        raise ValueError("every node is supported in both directions: expected one that can move")
    spectrum = np.linalg.eigvalsh(stiffness[free][:, free].toarray())
    loose = int((spectrum <= RIGID * spectrum[-1]).sum())
    if loose:
        raise ValueError(
            f"the truss is a mechanism: it moves in {loose} ways while all bars keep their length; add bars or supports"
        )
    return Elastic(stiffness, free, None, scale)


def plane_stress(
    mesh: Any,
    young_pascal: float,
    poisson_ratio: float,
    thickness_metre: float,
    clamped: Callable[[np.ndarray], np.ndarray],
    *,
    body_force: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
) -> Elastic:
    """Return the law of a thin plate under loads in its plane, on triangles with linear displacements.

    Args:
        mesh: a ``skfem.MeshTri``, in metres. Degree of freedom 2 i + k is node i in direction k.
        young_pascal, poisson_ratio, thickness_metre: E > 0, ν in (−1, 0.5], t > 0.
        clamped: ``(2, points) -> bool``: where nodes of the boundary cannot move; as for ``mesh.facets_satisfying``. Of
            shape ``(points,)`` for both directions, ``(2, points)`` for each by itself, as on rollers or at a line of
            symmetry.
        body_force: N/m³, weight for instance.
        scale: newtons that count as one in the residual.

    Raises:
        UserError: without scikit-fem.
        ValueError: for numbers out of range, or a plate that is clamped nowhere.
    """
    try:
        import skfem  # noqa: PLC0415  (an extra)
        from skfem.helpers import ddot, dot, eye, sym_grad, trace  # noqa: PLC0415
    except ImportError:
        raise UserError("plane_stress needs scikit-fem: pip install 'equilog[physics]'") from None
    if not (young_pascal > 0 and -1 < poisson_ratio <= 0.5 and thickness_metre > 0):
        raise ValueError(
            f"E = {young_pascal}, ν = {poisson_ratio}, t = {thickness_metre}: expected E > 0, −1 < ν ≤ 0.5, t > 0"
        )
    basis = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementTriP1()))
    shear = young_pascal / (2 * (1 + poisson_ratio))
    spread = young_pascal * poisson_ratio / (1 - poisson_ratio**2)  # λ with no stress across the plate

    def work(u: Any, v: Any, _: Any) -> Any:
        strain = sym_grad(u)
        stress = 2 * shear * strain + eye(spread * trace(strain), 2)
        return thickness_metre * ddot(stress, sym_grad(v))

    def weight(v: Any, _: Any) -> Any:
        return thickness_metre * dot(np.asarray(body_force)[:, None, None], v)

    stiffness = sparse.csr_array(skfem.BilinearForm(work).assemble(basis))
    nodes = mesh.boundary_nodes()
    where = np.broadcast_to(np.asarray(clamped(mesh.p[:, nodes]), dtype=bool), (2, len(nodes)))
    held = basis.nodal_dofs[:, nodes][where]
    if not where.any(1).all():
        raise ValueError(
            "the plate is clamped at no node of its boundary, or in one direction alone, so it may move as a whole: "
            "clamp it somewhere"
        )
    free = np.setdiff1d(np.arange(stiffness.shape[0]), held)
    return Elastic(stiffness, free, skfem.LinearForm(weight).assemble(basis), scale)
