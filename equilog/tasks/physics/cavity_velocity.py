"""Velocities of a flow in the cavity from its stream function at few points, free of sources everywhere.

ψ is interpolated by the tensor product of cubic splines, twice differentiable, that take the walls into account: ψ = 0
there, ∂ψ/∂n = 0 at walls at rest and ∂ψ/∂y = 1 at the lid (complete splines: de Boor, *A Practical Guide to Splines*,
1978, ch. IV). Then ``u = ∂ψ/∂y`` and ``v = −∂ψ/∂x``, in lid speeds; the lid at y = 1 moves to the right.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline
from torch import Tensor

from equilog.priors.flow import divergence

FACES = 4
"""faces between two nodes at which the flow through squares is looked at"""
_GAUSS = 0.5 / 3**0.5
"""from the middle of an interval of length 1 to the two places whose mean is that of any cubic"""


class Velocity:
    """u and v anywhere in the square.

    Args:
        psi: at the inner nodes of an even grid, ``(samples, n, n)``, rows from the bottom up; float64.
    """

    def __init__(self, psi: np.ndarray) -> None:
        padded = np.pad(psi, ((0, 0), (1, 1), (1, 1)))
        self.nodes = np.linspace(0, 1, padded.shape[1])
        low, lid = np.zeros((len(psi), len(self.nodes))), np.ones((len(psi), len(self.nodes)))
        lid[:, [0, -1]] = 0  # the walls at both sides are at rest up to the corners
        self._along_y = CubicSpline(self.nodes, padded, axis=1, bc_type=((1, low), (1, lid)))

    def u(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return u at all pairs of places, ``(samples, len(y), len(x))``."""
        return self._derivative(y, x, 1, 0)

    def v(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return v at all pairs of places, ``(samples, len(y), len(x))``."""
        return -self._derivative(y, x, 0, 1)

    def _derivative(self, y: np.ndarray, x: np.ndarray, of_y: int, of_x: int) -> np.ndarray:
        lines = self._along_y(y, of_y)
        still = np.zeros(lines.shape[:2])
        found: np.ndarray = CubicSpline(self.nodes, lines, axis=2, bc_type=((1, still), (1, still)))(x, of_x)
        return found

    def sources(self) -> np.ndarray:
        """Return the largest of what flows out of small squares, per area, of every sample: ``(samples,)``.

        Squares are a fourth of the nodes' spacing wide. The mean velocity through a face is that at two Gauss points,
        exact for a spline; what is left is rounding, for a flow without sources.
        """
        count = FACES * (len(self.nodes) - 1)
        edges = np.linspace(0, 1, count + 1)
        middle, off = (edges[1:] + edges[:-1]) / 2, _GAUSS / count
        u = (self.u(middle - off, edges) + self.u(middle + off, edges)) / 2
        v = (self.v(edges, middle - off) + self.v(edges, middle + off)) / 2
        out: np.ndarray = np.abs(_per_area(u, v, 1 / count)).max((1, 2))
        return out


def _per_area(u: np.ndarray, v: np.ndarray, h: float) -> np.ndarray:
    import torch  # noqa: PLC0415

    return divergence(torch.from_numpy(u), torch.from_numpy(v), h).numpy()


def centre_lines(psi: Tensor | np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return u at (½, y) and v at (x, ½) for all y and x of `at`, ``(samples, points)`` each."""
    flow, half = Velocity(np.asarray(psi, dtype=np.float64)), np.array([0.5])
    return flow.u(at, half)[:, :, 0], flow.v(half, at)[:, 0]
