"""What a crossbar with resistive lines dissipates: every segment and every device, from its nodal equations.

Ports are the drivers and the virtual grounds, whose voltages are given; everything between them is resistors. With the
Laplacian ``[[K, P], [Pᵀ, L]]`` of inner nodes and ports the inner ones are at ``−K⁻¹ P V``, and what the ports deliver,
``Vᵀ(L − PᵀK⁻¹P)V``, is what all resistors together turn into heat. Lines as drawn in :mod:`equilog.hardware.wires`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

Array = NDArray[Any]


def array_with_wires_watt(
    lines: Tensor, word_line_ohm: float, bit_line_ohm: float, driver_volt: Tensor, ground_volt: Tensor
) -> Tensor:
    """Return the power of devices and wires together, shape ``(samples,)``.

    Args:
        lines: conductances, shape ``(word lines, bit lines)``.
        word_line_ohm, bit_line_ohm: of every segment; one of them may be 0.
        driver_volt: of the word lines' drivers, shape ``(samples, word lines)``.
        ground_volt: of the virtual grounds, shape ``(samples, bit lines)``.
    """
    g = lines.detach().to("cpu", torch.float64).numpy()
    rows, columns = g.shape
    inner = g.size * ((word_line_ohm > 0) + (bit_line_ohm > 0))
    crossing = np.arange(g.size).reshape(g.shape)
    driver = inner + np.arange(rows)[:, None]
    ground = inner + rows + np.arange(columns)[None, :]
    word = crossing if word_line_ohm > 0 else np.broadcast_to(driver, g.shape)
    bit = crossing + inner - g.size if bit_line_ohm > 0 else np.broadcast_to(ground, g.shape)
    branches: list[tuple[Array, Array, Array]] = [(word, bit, g)]
    if word_line_ohm > 0:
        branches.append((np.hstack([driver, word[:, :-1]]), word, np.full(g.shape, 1 / word_line_ohm)))
    if bit_line_ohm > 0:
        branches.append((np.vstack([bit[1:], ground]), bit, np.full(g.shape, 1 / bit_line_ohm)))
    a, b, siemens = (np.concatenate([branch[k].ravel() for branch in branches]) for k in range(3))
    values = np.concatenate([siemens, siemens, -siemens, -siemens])
    places = np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a])
    laplacian = coo_matrix((values, places), shape=(inner + rows + columns,) * 2).tocsc()
    ports = torch.cat([driver_volt, ground_volt], dim=1).detach().to("cpu", torch.float64).numpy().T
    inside = -splu(laplacian[:inner, :inner]).solve(laplacian[:inner, inner:] @ ports)
    delivered = laplacian[inner:, :inner] @ inside + laplacian[inner:, inner:] @ ports
    return torch.from_numpy((ports * delivered).sum(0))
