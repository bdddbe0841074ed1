"""Sparse Jacobians of laws on grids, by colouring: a few products instead of one for every unknown."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from equilog.priors.law import Law


def stencil_jacobian(law: Law, z: Tensor, *x: Tensor, reach: int = 1) -> sparse.csc_array:
    """Return ``∂r/∂z`` of one sample where r at a grid point depends on z no further than `reach` points away.

    Unknowns 2·reach + 1 apart in every direction share no equation, so that one product with the Jacobian reads all of
    them at once (Curtis, Powell & Reid, *IMA J. Appl. Math.* 13, 1974). For a reach that is too small the result is
    wrong.

    Args:
        law: state of shape ``(fields, ny, nx)``, residual of the same.
        z: shape ``(fields, ny, nx)``.
        x: sources, without a batch.
        reach: in points.

    Returns:
        ``(n, n)`` on flattened fields.
    """
    fields, ny, nx = law.state.shape
    stride = 2 * reach + 1
    colours = list(itertools.product(range(fields), range(min(stride, ny)), range(min(stride, nx))))
    tangents = torch.zeros(len(colours), fields, ny, nx, dtype=z.dtype)
    for tangent, (f, i, j) in zip(tangents, colours):
        tangent[f, i::stride, j::stride] = 1.0
    given = [s.expand(len(colours), *s.shape) for s in x]
    products = torch.func.jvp(lambda v: law(v, *given), (z.expand_as(tangents).clone(),), (tangents,))[1]
    found = products.numpy()  # (colours, fields, ny, nx): of every equation, what it has of that colour
    index = np.arange(fields * ny * nx).reshape(fields, ny, nx)
    rows, columns, values = [], [], []
    for product, (f, i, j) in zip(found, colours):
        # The one unknown of this colour within reach of each point; beyond the grid there is none.
        at_y, at_x = (_nearest(n, start, stride, reach) for n, start in ((ny, i), (nx, j)))
        inside = (at_y >= 0)[:, None] & (at_x >= 0)[None, :]
        column = index[f][np.maximum(at_y, 0)[:, None], np.maximum(at_x, 0)[None, :]]
        keep = np.broadcast_to(inside, product.shape) & (product != 0)
        rows.append(index[keep])
        columns.append(np.broadcast_to(column, product.shape)[keep])
        values.append(product[keep])
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csc_array(sparse.coo_array(entries, shape=(index.size,) * 2))


def _nearest(n: int, start: int, stride: int, reach: int) -> np.ndarray:
    """Of every point 0 … n − 1 the one of ``start, start + stride, …`` within reach; −1 where it is off the grid."""
    points = np.arange(n)
    nearest = points + (start - points + reach) % stride - reach
    return np.where((nearest >= 0) & (nearest < n), nearest, -1)
