"""A learnt diffusion on a pixel grid as a cell: resistors between neighbours, a leak at every node.

At rest ``φ⁻¹(z) − z + A z = U d + b`` with ``A = Dᵀ G D + diag(l)``: D takes differences between neighbours, G > 0 are
the conductances of edges, l ≥ m leaks. For small z this is Kirchhoff's current law in a resistive grid, which smooths
what is injected over about √(G/l) pixels, less across an edge whose conductance has been learnt to be small.

``W = I − A`` is symmetric with margin ≥ m whatever is learnt, so every device that takes a
:class:`~equilog.cells.CircuitCell` takes this one. A chip has devices only where W can be other than zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.cells import NodeDrivenCell
from equilog.cells.monotone import check_margin
from equilog.names import UserError

CONDUCTANCE = 0.25
"""of every edge at the start: four of them beside a leak of m leave W_ii = −m"""


class GridWeight(nn.Module):
    """``W = I − Dᵀ G D − diag(l)``, a grid for each channel, none between them.

    Args:
        channels, height, width: of the grid; states are in that order.
        margin: m in (0, 1], the least leak.

    Attributes:
        populated: where W can be other than zero: a node and its neighbours, bool, ``(n, n)``.

    Raises:
        ValueError: for a grid without a node, or a margin out of range.
    """

    differences: Tensor
    populated: Tensor

    def __init__(self, channels: int, height: int, width: int, margin: float = 0.3) -> None:
        super().__init__()
        check_margin(margin)
        if min(channels, height, width) < 1:
            raise ValueError(f"grid of {channels} × {height} × {width}: expected at least one of each")
        self.n = channels * height * width
        self.margin = margin
        self.register_buffer("differences", _differences(height, width), persistent=False)
        neighbours = (self.differences.T @ self.differences).ne(0) | torch.eye(height * width, dtype=torch.bool)
        self.register_buffer("populated", torch.block_diag(*[neighbours] * channels), persistent=False)
        start = torch.full((channels, len(self.differences)), CONDUCTANCE)
        self.edge = nn.Parameter(start.expm1().log())  # softplus gives the start
        self.leak = nn.Parameter(torch.full((channels, height * width), -4.0))

    def conductances(self) -> tuple[Tensor, Tensor]:
        """Return G ``(channels, edges)`` > 0, rows before columns, and l ``(channels, pixels)`` ≥ m."""
        return nn.functional.softplus(self.edge), self.margin + nn.functional.softplus(self.leak)

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        edge, leak = self.conductances()
        d = self.differences.to(edge)
        a = torch.einsum("ei,ce,ej->cij", d, edge, d) + torch.diag_embed(leak)
        weight = torch.eye(self.n).to(a) - torch.block_diag(*a)
        return (weight + weight.T) / 2  # a sum may round w_ij and w_ji differently

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"channels={len(self.edge)}, pixels={self.leak.shape[1]}, margin={self.margin}"


class GridCell(NodeDrivenCell):
    """``p = W φ(p) + diag(u) d + b`` on a grid: a DAC for every node, and nothing that is dense.

    Args:
        channels, height, width, margin: see :class:`GridWeight`.
    """

    def __init__(self, channels: int, height: int, width: int, margin: float = 0.3) -> None:
        super().__init__(GridWeight(channels, height, width, margin))


def grid_channels(states: int, drives: int, grid: tuple[int, int]) -> int:
    """Return how many channels of a grid so many states are.

    Raises:
        UserError: unless states and drives are the same multiple of its nodes.
    """
    nodes = grid[0] * grid[1]
    channels, rest = divmod(states, nodes)
    if rest or drives != states:
        raise UserError(
            f"{states} states and {drives} drives: expected the same multiple of {nodes} for both, channels of a "
            f"{grid[0]}×{grid[1]} grid with a DAC a node"
        )
    return channels


def _differences(height: int, width: int) -> Tensor:
    """Return D ``(edges, height·width)``: a row for each pair of neighbours, 1 at one and −1 at the other."""
    node = torch.arange(height * width, device="cpu").view(height, width)
    pairs = torch.cat(
        [
            torch.stack([node[:, :-1].flatten(), node[:, 1:].flatten()], 1),
            torch.stack([node[:-1].flatten(), node[1:].flatten()], 1),
        ]
    )
    found = torch.zeros(len(pairs), height * width)
    rows = torch.arange(len(pairs))
    found[rows, pairs[:, 0]], found[rows, pairs[:, 1]] = 1.0, -1.0
    return found
