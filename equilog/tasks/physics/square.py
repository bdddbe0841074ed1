"""The unit square with values held at its walls: inner nodes, and Poisson's equation between them."""

from __future__ import annotations

import torch
from scipy import sparse
from torch import Tensor

from equilog.priors import Field, LinearLaw


def nodes(n: int) -> Tensor:
    """Return the places of n inner nodes along a side in metres, ``k/(n + 1)``, float64; walls are at 0 and 1."""
    return torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)


def square_poisson(n: int, *, name: str, source: str, unit: str = "", scale: float = 1.0) -> LinearLaw:
    """Return ``−∇²u = f`` on n × n inner nodes with u = 0 at the walls, by five points.

    Nodes are a whole spacing ``h = 1/(n + 1)`` from the walls (LeVeque, *Finite Difference Methods for Ordinary and
    Partial Differential Equations*, SIAM 2007, §3.2); :func:`equilog.priors.poisson` has cells, whose centres are half
    a spacing away. Eigenvalues are ``(4/h²)(sin²(iπh/2) + sin²(jπh/2))``.

    Args:
        n: inner nodes along a side.
        name, unit: of u.
        source: what f is called; it is in the unit of u per square metre.
        scale: what counts as one in the residual.
    """
    second = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)) * (n + 1) ** 2
    eye = sparse.eye_array(n)
    per_area = f"({unit or '1'})/m^2"
    with torch.device("cpu"):  # also where a model is only counted, on no device at all
        return LinearLaw(
            sparse.kron(second, eye) + sparse.kron(eye, second),
            sparse.eye_array(n**2),
            state=Field(name, (n, n), unit),
            sources=Field(source, (n, n), per_area),
            unit=per_area,
            scale=scale,
        )
