"""Steady incompressible flow in a square cavity with a moving lid: stream function and vorticity.

In units of the lid's speed and the side of the square, with u = ∂ψ/∂y and v = −∂ψ/∂x:
``∇²ψ + ω = 0`` and ``∂(uω)/∂x + ∂(vω)/∂y − ∇²ω/Re = 0``. Both by central differences on points, the second as a balance
of what flows through the faces around a point: velocities at faces are differences of ψ, so their divergence is zero to
rounding. Vorticity at walls, where ψ = 0: Thom, *Proc. R. Soc. A* 141 (1933), ``ω_w = −2ψ_1/h² − 2U/h``, or Woods,
*Aeronaut. Q.* 5 (1954), ``ω_w = −3ψ_1/h² − ω_1/2 − 3U/h``, U the speed of the lid, to the right; 0 at other walls.
Reference velocities: Ghia, Ghia & Shin, *J. Comput. Phys.* 48 (1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn.functional import pad

from equilog.priors.law import Field, Law
from equilog.priors.stencil import stencil_jacobian

Wall = Literal["thom", "woods"]


class FlowError(RuntimeError):
    """Newton's method found no steady flow."""


def cavity(reynolds: float, n: int, *, wall: Wall = "woods") -> Law:
    """Return the law of the flow.

    State ``(2, n − 2, n − 2)``: ψ and ω at inner points, rows from the bottom up to the lid. Source ``(n − 2,)``: the
    lid's speed along itself at inner points, 1 for the classical cavity. Residual ``(2, n − 2, n − 2)``.

    Args:
        reynolds: Re > 0, lid speed times side over viscosity.
        n: points on a side, walls included, 5 or more.
        wall: formula of the vorticity at walls.

    Raises:
        ValueError: for arguments out of range.
    """
    if not reynolds > 0 or n < 5:
        raise ValueError(f"reynolds = {reynolds}, n = {n}: expected above 0, and 5 points or more")
    if wall not in get_args(Wall):
        raise ValueError(f"wall = {wall!r}: expected one of {', '.join(get_args(Wall))}")
    h = 1 / (n - 1)

    def residual(z: Tensor, lid: Tensor) -> Tensor:
        psi, omega = pad(z[:, 0], (1, 1, 1, 1)), _with_walls(z[:, 0], z[:, 1], lid, h, wall)
        u, v = face_velocities(psi, h)
        inner = omega[:, 1:-1, 1:-1]
        # Vorticity at faces is the mean of both sides.
        through_x = u * (omega[:, 1:-1, 1:] + omega[:, 1:-1, :-1]) / 2
        through_y = v * (omega[:, 1:, 1:-1] + omega[:, :-1, 1:-1]) / 2
        carried = (through_x.diff(dim=2) + through_y.diff(dim=1)) / h
        return torch.stack([_laplacian(psi, h) + inner, carried - _laplacian(omega, h) / reynolds], dim=1)

    state = Field("stream function and vorticity", (2, n - 2, n - 2))
    return Law(residual, state, Field("lid speed", (n - 2,)))


@dataclass(frozen=True)
class CavityFlow:
    """A steady flow that was found.

    Attributes:
        psi: stream function at all points, walls included, ``(n, n)``, rows from the bottom up.
        omega: vorticity likewise; corners are not defined and hold 0.
        steps: Newton steps of the last Reynolds number.
        residual: largest that is left, in the units of :func:`cavity`.
    """

    psi: Tensor
    omega: Tensor
    steps: int
    residual: float

    @property
    def spacing(self) -> float:
        """Distance of points, in sides."""
        return 1 / (len(self.psi) - 1)

    @property
    def state(self) -> Tensor:
        """ψ and ω at inner points, ``(2, n − 2, n − 2)``, the state of :func:`cavity`."""
        return torch.stack([self.psi, self.omega])[:, 1:-1, 1:-1]

    def velocities(self) -> tuple[Tensor, Tensor]:
        """Return u ``(n − 1, n)`` and v ``(n, n − 1)`` in lid speeds, each in the middle of the face it crosses."""
        u, v = staggered_velocities(self.psi[None], self.spacing)
        return u[0], v[0]


def solve_cavity(
    reynolds: float,
    n: int,
    *,
    wall: Wall = "woods",
    lid: Tensor | None = None,
    max_steps: int = 20,
    start: Tensor | None = None,
) -> CavityFlow:
    """Return the steady flow, by Newton's method with sparse factors, in float64; a reference, without gradient.

    Begins at rest and passes through lower Reynolds numbers, unless told where to begin.

    Args:
        reynolds, n, wall: see :func:`cavity`.
        lid: its speed at inner points, ``(n − 2,)``; 1 unless given.
        max_steps: of each Reynolds number on the way.
        start: state of :func:`cavity`, ``(2, n − 2, n − 2)``, near the one looked for, as of a flow of nearly that
            Reynolds number.

    Raises:
        FlowError: if the residual does not fall to rounding.
        ValueError: for arguments out of range, or a start of another shape.
    """
    speed = torch.ones(n - 2, dtype=torch.float64) if lid is None else lid.detach().double()
    z = torch.zeros(2, n - 2, n - 2, dtype=torch.float64) if start is None else start.detach().double()
    if z.shape != (2, n - 2, n - 2):
        raise ValueError(f"start of shape {tuple(z.shape)}: expected {(2, n - 2, n - 2)}, ψ and ω at inner points")
    on_the_way = [r for r in (100.0, 400.0) if r < reynolds and start is None]
    for re in (*on_the_way, reynolds):
        law = cavity(re, n, wall=wall)
        # Rounding of differences divided by h², of which those of ω are divided by Re as well.
        floor = 1e-12 * n**2 * float(speed.abs().max()) * max(1.0, 1 / re)
        for step in range(max_steps + 1):
            r = law(z[None], speed[None])[0]
            left = float(r.abs().max())
            if left <= floor:
                break
            if step == max_steps or not left < 1e12:
                raise FlowError(f"Re = {re:g}, n = {n}: residual {left:.2e} after {step} steps, expected {floor:.0e}")
            z = z - torch.from_numpy(splu(stencil_jacobian(law, z, speed)).solve(r.reshape(-1).numpy())).view_as(z)
    omega = _with_walls(z[None, 0], z[None, 1], speed[None], 1 / (n - 1), wall)[0]
    return CavityFlow(pad(z[0], (1, 1, 1, 1)), omega, step, left)


def face_velocities(psi: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Return velocities through the faces around inner points, from ψ at their corners, the mean of four points.

    Args:
        psi: ``(batch, n, n)``, walls included.
        h: spacing.

    Returns:
        u ``(batch, n − 2, n − 1)`` through faces left and right of inner points, v ``(batch, n − 1, n − 2)`` through
        those below and above.
    """
    corner = (psi[:, 1:, 1:] + psi[:, 1:, :-1] + psi[:, :-1, 1:] + psi[:, :-1, :-1]) / 4
    return corner.diff(dim=1) / h, -corner.diff(dim=2) / h


def staggered_velocities(psi: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Return velocities through the faces of the squares between points.

    u is ``(batch, n − 1, n)``, v ``(batch, n, n − 1)``.
    Harlow & Welch's layout (*Phys. Fluids* 8, 1965); :func:`divergence` of them is zero to rounding whatever ψ is.
    """
    return psi.diff(dim=1) / h, -psi.diff(dim=2) / h


def divergence(u: Tensor, v: Tensor, h: float) -> Tensor:
    """Return what flows out of each square, per area, ``(batch, k, k)``.

    Args:
        u, v: ``(batch, k, k + 1)`` and ``(batch, k + 1, k)``.
        h: spacing.
    """
    return (u.diff(dim=-1) + v.diff(dim=-2)) / h


def _with_walls(psi: Tensor, omega: Tensor, lid: Tensor, h: float, wall: Wall) -> Tensor:
    """ω at all points: inner ones as they are, walls (ψ = 0 there) by the formula, corners 0."""

    def at(psi_1: Tensor, omega_1: Tensor) -> Tensor:
        return -2 * psi_1 / h**2 if wall == "thom" else -3 * psi_1 / h**2 - omega_1 / 2

    shear = (2 if wall == "thom" else 3) * lid / h
    low = at(psi[:, 0], omega[:, 0])
    high = at(psi[:, -1], omega[:, -1]) - shear
    left, right = at(psi[:, :, 0], omega[:, :, 0]), at(psi[:, :, -1], omega[:, :, -1])
    middle = torch.cat([left[:, :, None], omega, right[:, :, None]], dim=2)
    return torch.cat([pad(low, (1, 1))[:, None], middle, pad(high, (1, 1))[:, None]], dim=1)


def _laplacian(field: Tensor, h: float) -> Tensor:
    """Five points, at inner ones."""
    inner = field[:, 1:-1, 1:-1]
    return (field[:, 2:, 1:-1] + field[:, :-2, 1:-1] + field[:, 1:-1, 2:] + field[:, 1:-1, :-2] - 4 * inner) / h**2
