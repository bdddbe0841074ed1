"""A Fourier neural operator on a grid (Li et al., ICLR 2021): products in the frequency domain, and pointwise maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpectralProduct(nn.Module):
    """Multiply the lowest frequencies of every channel by learnt complex matrices; the others become zero.

    Args:
        channels: of inputs and outputs.
        modes: kept in each direction, counted from zero frequency; fewer where the grid has fewer.
        shape: of the grid, one or two directions.
    """

    def __init__(self, channels: int, modes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = shape
        last = min(modes, shape[-1] // 2 + 1)
        # In all directions but the last, both signs of frequency.
        first = tuple(min(2 * modes, n) for n in shape[:-1])
        self.kept = (*first, last)
        size = (channels, channels, *self.kept)
        self.weight = nn.Parameter(torch.randn(*size, 2) / channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape of x, ``(batch, channels, *shape)``."""
        axes = tuple(range(2, x.ndim))
        found = torch.fft.rfftn(x, dim=axes)
        corner = tuple(self._corner(n, kept) for n, kept in zip(found.shape[2:-1], self.kept[:-1]))
        low = found[..., : self.kept[-1]]
        for axis, index in zip(axes, corner):
            low = low.index_select(axis, index.to(x.device))
        mixed = torch.einsum("bi...,io...->bo...", low, torch.view_as_complex(self.weight))
        out = torch.zeros_like(found)
        if corner:
            out[:, :, corner[0], : self.kept[-1]] = mixed
        else:
            out[..., : self.kept[-1]] = mixed
        return torch.fft.irfftn(out, s=self.grid, dim=axes)

    @staticmethod
    def _corner(n: int, kept: int) -> Tensor:
        half = (kept + 1) // 2
        return torch.cat([torch.arange(half), torch.arange(n - (kept - half), n)])


class Fno(nn.Module):
    """Lift, some spectral layers, project, on a grid of one or two directions whose coordinates are inputs too.

    Args:
        shape: of the grid, that of one sample of inputs and of targets.
        width: channels.
        modes: see :class:`SpectralProduct`.
        depth: layers.
        input_scale: what inputs are divided by.
        output_scale: what outputs are multiplied by.

    Raises:
        ValueError: for a grid that has not one or two directions.
    """

    coordinates: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        *,
        modes: int = 6,
        depth: int = 3,
        input_scale: float = 1.0,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if len(shape) not in (1, 2):
            raise ValueError(f"grid of shape {shape}: expected one or two directions")
        self.input_scale, self.output_scale = input_scale, output_scale
        lines = [torch.linspace(-1, 1, n, device="cpu") for n in shape]
        self.register_buffer("coordinates", torch.stack(torch.meshgrid(*lines, indexing="ij"))[None])
        point = nn.Conv1d if len(shape) == 1 else nn.Conv2d
        self.lift = point(1 + len(shape), width, 1)
        self.spectral = nn.ModuleList(SpectralProduct(width, modes, shape) for _ in range(depth))
        self.local = nn.ModuleList(point(width, width, 1) for _ in range(depth))
        self.project = nn.Sequential(point(width, width, 1), nn.GELU(), point(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return shape of x, ``(batch, *shape)``."""
        where = self.coordinates.to(x).expand(len(x), *self.coordinates.shape[1:])
        h = self.lift(torch.cat([x[:, None] / self.input_scale, where], dim=1))
        for spectral, local in zip(self.spectral, self.local):
            h = nn.functional.gelu(spectral(h) + local(h))
        y: Tensor = self.project(h)[:, 0] * self.output_scale
        return y
