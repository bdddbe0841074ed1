"""A convolutional equilibrium at several resolutions as a cell (after Bai, Koltun & Kolter, NeurIPS 2020).

States are maps of features, each scale at half the resolution of the one before. A linear operator M of them is made
of 3×3 convolutions within a scale, and between neighbouring scales of a 1×1 convolution, of the mean over four pixels
on the way down, of repeated pixels on the way up. Two of them, A and B, make ``W = (1 − m) I − AᵀA + B − Bᵀ``, which
settles by construction (:class:`~equilog.cells.MonotoneWeight`), with kernels that are the same everywhere. On a
crossbar every place has its own devices: as a matrix W has a row and a column a pixel and feature.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from equilog.cells.monotone import check_margin

Scale = tuple[int, int]
"""channels, and pixels on a side"""
KERNEL = 3


class Multiscale(nn.Module):
    """M, a linear operator on maps of features at several scales.

    Args:
        scales: channels and side of each, every side half of the one before.
        size: of the random start: what a state of variance 1 becomes, about.
    """

    def __init__(self, scales: Sequence[Scale], size: float) -> None:
        super().__init__()
        self.scales = tuple(scales)

        def kernel(outputs: int, inputs: int, width: int) -> nn.Parameter:
            fan = inputs * width**2
            return nn.Parameter(size * torch.randn(outputs, inputs, width, width) / fan**0.5)

        self.within = nn.ParameterList([kernel(c, c, KERNEL) for c, _ in scales])
        self.down = nn.ParameterList([kernel(b, a, 1) for (a, _), (b, _) in pairwise(scales)])
        self.up = nn.ParameterList([kernel(a, b, 1) for (a, _), (b, _) in pairwise(scales)])

    def forward(self, z: Tensor) -> Tensor:
        """Return ``M z`` for states of shape ``(batch, n)``, scale after scale."""
        conv, functional = nn.functional.conv2d, nn.functional
        sizes = [c * side**2 for c, side in self.scales]
        maps = [part.unflatten(1, (c, side, side)) for part, (c, side) in zip(z.split(sizes, dim=1), self.scales)]
        found = [conv(part, kernel, padding=KERNEL // 2) for part, kernel in zip(maps, self.within)]
        for k, (down, up) in enumerate(zip(self.down, self.up)):
            found[k + 1] = found[k + 1] + conv(functional.avg_pool2d(maps[k], 2), down)
            found[k] = found[k] + conv(functional.interpolate(maps[k + 1], scale_factor=2.0), up)
        return torch.cat([part.flatten(1) for part in found], dim=1)

    def matrix(self, n: int) -> Tensor:
        """Return M, shape ``(n, n)``."""
        first = self.within[0]
        found: Tensor = self(torch.eye(n, dtype=first.dtype, device=first.device)).T
        return found


class MultiscaleWeight(nn.Module):
    """``W = (1 − m) I − AᵀA + B − Bᵀ`` with A and B convolutional at several scales.

    Args:
        scales: channels and side of each scale.
        margin: m in (0, 1].

    Attributes:
        populated: where W can be other than zero, bool, ``(n, n)``.

    Raises:
        ValueError: without a scale, for a side that is not half of the one before, or a margin out of range.
    """

    populated: Tensor

    def __init__(self, scales: Sequence[Scale], margin: float = 0.3) -> None:
        super().__init__()
        check_margin(margin)
        sides = [side for _, side in scales]
        if not scales or min(map(min, scales)) < 1 or any(a != 2 * b for a, b in pairwise(sides)):
            raise ValueError(f"scales {tuple(scales)}: expected channels and sides, every side half of the one before")
        self.n, self.margin = sum(c * side**2 for c, side in scales), margin
        self.a, self.b = Multiscale(scales, 0.3), Multiscale(scales, 0.3)
        self.register_buffer("populated", self._reached(), persistent=False)

    def forward(self) -> Tensor:
        """Return W, shape ``(n, n)``."""
        a, b = self.a.matrix(self.n), self.b.matrix(self.n)
        weight = b - b.T - a.T @ a
        return weight + (1 - self.margin) * torch.eye(self.n).to(weight)

    @torch.no_grad()
    def _reached(self) -> Tensor:
        reach = copy.deepcopy(self.a)
        for kernel in reach.parameters():
            kernel.fill_(1.0)
        touched = reach.matrix(self.n)
        return (touched + touched.T + touched.T @ touched).ne(0)

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"scales={self.a.scales}, margin={self.margin}"
