"""A linear law ``A z = B x + c``: its exact answer, and the fixed conductances that hold it on a chip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, onenormest, splu
from torch import Tensor

from equilog.cells import FixedCoupling, LinearCell
from equilog.priors import units
from equilog.priors.law import Field, Law

Matrix = Any
"""A tensor, an array or a sparse matrix of SciPy"""
Rows = Literal["best", "diagonal", "symmetric"]

DENSE = 1_000_000
"""Entries up to which a product with a dense matrix costs less than the overhead of a sparse one."""
CONDITION_EXACT = 1500
SINGULAR = 1e-14


class LinearLaw(Law):
    """``r = A z − B x − c``, with state and sources flattened in the order of their elements.

    Args:
        matrix: A, shape ``(n, n)``, dense or sparse (torch or SciPy); held in float64.
        source_matrix: B, shape ``(n, m)``, m numbers in all sources together; None without a source.
        constant: c, shape ``(n,)``; zero unless given.
        state: z, of n numbers.
        sources: x, of m numbers together.
        unit: of r.
        scale: what counts as one in r.

    Raises:
        ValueError: for shapes that do not fit together, or a number that is not finite.
    """

    def __init__(
        self,
        matrix: Matrix,
        source_matrix: Matrix | None = None,
        constant: Tensor | np.ndarray | None = None,
        *,
        state: Field,
        sources: Sequence[Field] | Field = (),
        unit: str = "",
        scale: float | Tensor = 1.0,
    ) -> None:
        fields = (sources,) if isinstance(sources, Field) else tuple(sources)
        n, m = state.size, sum(s.size for s in fields)
        a = _sparse(matrix, "A", (n, n))
        b = sparse.csr_array((n, m)) if source_matrix is None else _sparse(source_matrix, "B", (n, m))
        c = np.zeros(n) if constant is None else _array(constant)
        if c.shape != (n,) or not np.isfinite(c).all():
            raise ValueError(f"c of shape {c.shape}: expected ({n},), finite")
        self.a, self.b, self.c = a, b, c
        self._held: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}
        super().__init__(self._residual, state, fields, unit=unit, scale=scale)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out factors and copies, which are made again: a copied or saved law does not need them."""
        return {name: value for name, value in vars(self).items() if name != "_factors"} | {"_held": {}}

    def check(self) -> None:
        """Read all units; what units the entries of A and B have follows from them, so there is nothing to compare."""
        for of in (self.state, *self.sources):
            units.read(of.unit, of.name)
        units.read(self.unit, "residual")

    def _residual(self, z: Tensor, *x: Tensor) -> Tensor:
        a, b, c = self._tensors(z.dtype, z.device)
        r = _times(a, z.flatten(1)) - c
        if x:
            r = r - _times(b, torch.cat([s.to(z.dtype).flatten(1) for s in x], dim=1))
        return r.view_as(z)

    def solve(self, *x: Tensor, batch: int = 1) -> Tensor:
        """Return ``z = A⁻¹(B x + c)`` by factorisation in float64, the reference; no gradient.

        Args:
            x: the sources, ``(batch, *shape)``.
            batch: for a law without sources.

        Returns:
            shape ``(batch, *state.shape)``, in the precision of x.

        Raises:
            ValueError: for other shapes, or a singular A.
        """
        like = x[0] if x else torch.zeros(batch, dtype=torch.float64)
        self._check_arguments(torch.zeros(len(like), *self.state.shape, dtype=torch.float64), x)
        flat = [s.detach().double().cpu().flatten(1).numpy() for s in x]
        rhs = np.tile(self.c[:, None], (1, len(like)))
        if flat:
            rhs = rhs + self.b @ np.concatenate(flat, axis=1).T
        z = torch.from_numpy(np.ascontiguousarray(self._factors.solve(rhs).T))
        return z.view(len(like), *self.state.shape).to(like)

    @cached_property
    def _factors(self) -> Any:
        try:
            factors = splu(sparse.csc_matrix(self.a))
        except RuntimeError:
            factors = None
        pivots = np.zeros(1) if factors is None else np.abs(factors.U.diagonal())
        if factors is None or pivots.min() <= SINGULAR * pivots.max():
            raise ValueError(
                f"the law of {self.state.name} is singular: its state is not determined; hold it somewhere, by a value "
                "at a boundary, a support, a leak or a conductance to ground"
            )
        return factors

    @cached_property
    def condition(self) -> float:
        """Condition number of A in the Euclidean norm, or, above 1500 states, an estimate in the 1-norm."""
        if self.state.size <= CONDITION_EXACT:
            return float(np.linalg.cond(self.a.toarray()))
        factors = self._factors
        inverse = LinearOperator(
            self.a.shape, matvec=factors.solve, rmatvec=lambda v: factors.solve(v, trans="T"), dtype=float
        )
        return float(onenormest(inverse) * np.abs(self.a).sum(0).max())

    def normal_equations(self) -> LinearLaw:
        """Return ``AᵀA z = AᵀB x + Aᵀc``: the same answers, monotone for every A, its condition squared."""
        at = self.a.T
        unit = f"({self.unit or '1'})^2/({self.state.unit or '1'})" if self.unit or self.state.unit else ""
        return LinearLaw(at @ self.a, at @ self.b, at @ self.c, state=self.state, sources=self.sources, unit=unit)

    def coupling(
        self,
        *,
        scale: float | Tensor = 1.0,
        drives: float | Tensor = 1.0,
        damping: float = 1.0,
        rows: Rows = "best",
        margin: float = 0.0,
        hidden: int = 0,
    ) -> FixedCoupling:
        """Return the law as fixed conductances beside a crossbar, a state a neuron without an activation.

        With ``z = Z ζ`` and ``x = D d``, Z the scale and D the drives, every row of ``A Z ζ = B D d + c`` is divided
        by ``s_i / α`` and ζ added on both sides: ``K_z = I − α S⁻¹ A Z``, ``K_d = α S⁻¹ B D``, ``k = α S⁻¹ c``. At rest
        ζ is the exact answer, for every S and α. The circuit comes to rest there, and keeps one equilibrium whatever is
        learnt beside it, if ``λ_min(sym(I − K_z)) > 0``, the margin of :class:`~equilog.cells.FixedCoupling`: always
        if A has a positive definite symmetric part.

        Args:
            scale: Z > 0, what a neuron's 1 is in units of the state: a number, or shaped like it. Choose it such that
                states stay within ±1.
            drives: D, sources for a drive of 1: a number, one for each source element ``(m,)``, or patterns ``(m, k)``
                of k drives.
            damping: α > 0. The margin and all conductances are proportional to it.
            rows: S: "diagonal" gives every neuron K_ii = 1 − α; "symmetric" makes S⁻¹AZ = ZAZ/s, with s the largest
                row sum of |ZAZ| (Gershgorin: ‖I − K_z‖ ≤ α for a symmetric A); "best": the one with the larger margin.
            margin: that must be exceeded.
            hidden: states that follow, which the law does not touch.

        Raises:
            ValueError: if an argument is out of its range, or the margin is not reached: it is named.
        """
        z, d = self._scales(scale, drives)
        if not damping > 0:
            raise ValueError(f"damping = {damping}: expected a positive number")
        if rows not in get_args(Rows):
            raise ValueError(f"rows = {rows!r}: expected one of {', '.join(get_args(Rows))}")
        scaled = self.a.toarray() * z
        found = {name: _margin(damping * scaled / s[:, None]) for name, s in _row_scales(scaled, z, rows).items()}
        if not found:
            raise ValueError(
                f"rows = 'diagonal' for {self.state.name}: A has an entry on its diagonal that is not positive; "
                "expected rows = 'symmetric'"
            )
        best = max(found, key=lambda name: found[name])
        if not found[best] > margin:
            raise ValueError(self._not_monotone(found[best], best, margin, scaled, damping))
        s = _row_scales(scaled, z, rows)[best][:, None] / damping
        coupling = LinearCell(
            torch.from_numpy(np.eye(len(z)) - scaled / s),
            torch.from_numpy(self.b @ d / s if d.shape[1] else np.zeros((len(z), 1))),
            torch.from_numpy(self.c / s[:, 0]),
        )
        return FixedCoupling.of(coupling, hidden)

    def _scales(self, scale: float | Tensor, drives: float | Tensor) -> tuple[np.ndarray, np.ndarray]:
        n, m = self.a.shape[0], self.b.shape[1]
        z = _array(scale).reshape(-1)
        z = np.broadcast_to(z, (n,)) if z.size in (1, n) else np.zeros(1)
        if not (z > 0).all() or not np.isfinite(z).all():
            raise ValueError(f"scale = {scale}: expected a positive number, or {n} of them, one a state")
        d = _array(drives)
        d = np.diag(np.broadcast_to(d.reshape(-1), (m,))) if d.ndim < 2 and d.size in (1, m) else d
        if d.ndim != 2 or d.shape[0] != m or not np.isfinite(d).all():
            raise ValueError(
                f"drives of shape {d.shape}: expected a number, ({m},) for each source element, or ({m}, k) patterns"
            )
        return z, d

    def _not_monotone(self, got: float, rows: str, margin: float, scaled: np.ndarray, damping: float) -> str:
        slowest = float(np.linalg.eigvals(scaled).real.min())
        if slowest <= 0:
            why = f"A has an eigenvalue with real part {slowest:.3g}, so the flow ż = −A z runs away"
            remedy = "turn the sign of the law, or use law.normal_equations()"
        elif got > 0:
            why = "the law is monotone, but with less"
            remedy = f"a damping of {1.01 * damping * margin / got:.3g} reaches it"
        else:
            why = "its symmetric part is not positive, though ż = −A z is stable"
            remedy = "choose other scales of the states, or use law.normal_equations()"
        return (
            f"law of {self.state.name}: margin λ_min(sym(I − K_z)) = {got:.6g} under {rows} row scaling, expected "
            f"above {margin:g}: {why}; {remedy}"
        )

    def _tensors(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        if (dtype, device) not in self._held:
            a, b, c = _torch(self.a), _torch(self.b), torch.from_numpy(self.c)
            self._held[dtype, device] = a.to(device, dtype), b.to(device, dtype), c.to(device, dtype)
        return self._held[dtype, device]


def linearised(law: Law, z: Tensor, *x: Tensor) -> LinearLaw:
    """Return the law's linear part at a point: ``A = ∂r/∂z``, ``B = −∂r/∂x``, c such that r agrees there.

    Args:
        law: with as many equations as unknowns; differentiable by ``torch.func.jacrev``.
        z, x: the point, one sample each, without a batch.

    Raises:
        ValueError: for other shapes.
    """
    if law.shape != law.state.shape:
        raise ValueError(f"residual of shape {law.shape} for a state of {law.state.shape}: expected the same")
    point = tuple(p.detach().double() for p in (z, *x))

    def residual(*args: Tensor) -> Tensor:
        return law(*(a[None] for a in args))[0].reshape(-1)

    n = law.state.size
    jacobians = torch.func.jacrev(residual, argnums=tuple(range(len(point))))(*point)
    a, *b = (j.reshape(n, -1) for j in jacobians)
    c = a @ point[0].reshape(-1) - residual(*point)
    for part, value in zip(b, point[1:]):
        c = c + part @ value.reshape(-1)
    joined = -torch.cat(b, dim=1) if b else None
    return LinearLaw(a, joined, c, state=law.state, sources=law.sources, unit=law.unit, scale=law.scale)


def _row_scales(scaled: np.ndarray, z: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
    found = {}
    diagonal = scaled.diagonal()
    if rows != "symmetric" and (diagonal > 0).all():
        found["diagonal"] = diagonal
    if rows != "diagonal":
        found["symmetric"] = (np.abs(scaled).sum(1) * z).max() / z
    return found


def _margin(matrix: np.ndarray) -> float:
    return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])


def _sparse(matrix: Matrix, name: str, shape: tuple[int, int]) -> sparse.csr_array:
    if isinstance(matrix, Tensor):
        matrix = matrix.detach().cpu()
        matrix = (matrix.to_dense() if matrix.layout != torch.strided else matrix).double().numpy()
    found = sparse.csr_array(matrix, dtype=np.float64) if np.ndim(matrix) == 2 or sparse.issparse(matrix) else None
    if found is None or found.shape != shape:
        got = np.shape(matrix) if found is None else found.shape
        raise ValueError(f"{name} has shape {tuple(got)}: expected {shape}, a row an equation")
    if not np.isfinite(found.data).all():
        raise ValueError(f"{name} has an entry that is inf or nan")
    found.eliminate_zeros()
    return found


def _array(value: float | Tensor | np.ndarray) -> np.ndarray:
    value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    return np.asarray(value, dtype=np.float64)


def _torch(matrix: sparse.csr_array) -> Tensor:
    if np.prod(matrix.shape) <= DENSE:
        return torch.from_numpy(matrix.toarray())
    coo = matrix.tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    data = torch.from_numpy(coo.data)
    return torch.sparse_coo_tensor(index, data, coo.shape, check_invariants=True).coalesce()


def _times(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return ``matrix @ v`` for every row v."""
    if matrix.layout == torch.strided:
        return vectors @ matrix.T
    return torch.sparse.mm(matrix, vectors.T).T
