"""Small residual networks that turn pictures into drives for every place (He et al., CVPR 2016).

Normalisation is over groups of channels of one sample (Wu & He, ECCV 2018): a sample alone gives what it gives in a
batch, and training and use are the same function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

GROUP = 8
"""channels that are normalised together, where the width divides by it"""


class Standardise(nn.Module):
    """``(x − mean)/std`` a channel, for pictures in [0, 1].

    Args:
        mean, std: of the training pictures, one a channel.

    Raises:
        ValueError: if they are not as many, or a std is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(f"mean {tuple(mean)} and std {tuple(std)}: expected as many of each, std above 0")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, channels, height, width)`` like x; channels lie last in memory, for speed."""
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class ResidualBlock(nn.Module):
    """``relu(x' + f(x))``: f two normalised 3×3 convolutions, x' the input, or a normalised 1×1 one of its mean.

    Args:
        channels: of the input.
        width: of the output.
        stride: 1, or 2 to halve height and width.
    """

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        last = group_norm(width)
        nn.init.zeros_(last.weight)  # begins as the shortcut alone
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            group_norm(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            last,
        )
        self.shortcut = _shortcut(channels, width, stride)
        self.rectify = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, width, height, width)``, the latter two halved by a stride of 2."""
        y: Tensor = self.rectify(self.shortcut(x) + self.residual(x))
        return y


def residual_stages(channels: int, widths: Sequence[int], blocks: int = 1) -> nn.Sequential:
    """Return a 3×3 convolution and stages of residual blocks, each but the first at half the resolution before.

    Args:
        channels: of pictures.
        widths: channels of each stage.
        blocks: in each.

    Raises:
        ValueError: without a stage or a block.
    """
    if not widths or min(widths) < 1 or blocks < 1:
        raise ValueError(f"widths {tuple(widths)}, {blocks} blocks: expected at least one of each")
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
        group_norm(widths[0]),
        nn.ReLU(),
    ]
    before = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(ResidualBlock(before, width, 2 if stage and not block else 1))
            before = width
    return nn.Sequential(*layers)


def grid_encoder(mean: Sequence[float], std: Sequence[float], widths: Sequence[int], channels: int) -> nn.Sequential:
    """Return standardisation, residual stages, and drives within ±1: so many channels for each place that is left."""
    return nn.Sequential(
        Standardise(mean, std),
        residual_stages(len(mean), widths),
        nn.Conv2d(widths[-1], channels, 1),
        nn.Tanh(),
        nn.Flatten(),
    )


class Maps(nn.Module):
    """Features at several resolutions: means over so many places a side, and a 1×1 convolution of them, one each.

    Args:
        channels: of the input.
        scales: channels and side of each output.
    """

    def __init__(self, channels: int, scales: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.of = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Conv2d(channels, c, 1), nn.Flatten()) for c, side in scales
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, Σ channels·side²)``, scale after scale."""
        return torch.cat([part(x) for part in self.of], dim=1)


def multiscale_encoder(
    mean: Sequence[float], std: Sequence[float], widths: Sequence[int], scales: Sequence[tuple[int, int]]
) -> nn.Sequential:
    """Return standardisation, residual stages, and drives within ±1 for every feature of every scale."""
    stages = residual_stages(len(mean), widths)
    return nn.Sequential(Standardise(mean, std), stages, Maps(widths[-1], scales), nn.Tanh())


class GroupNorm(nn.GroupNorm):
    """The same as torch's, several times faster in bfloat16 on the CPU.

    There torch's gradient for channels that lie last takes seven times as long as for channels that lie first, more
    than two copies of the whole do.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised ``(batch, channels, …)``."""
        if x.dtype is not torch.bfloat16 or x.dim() != 4:
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return normalisation over groups of 8 channels, or as many as divide both."""
    return GroupNorm(channels // math.gcd(channels, GROUP), channels)


def _shortcut(channels: int, width: int, stride: int) -> nn.Module:
    if channels == width and stride == 1:
        return nn.Identity()
    # The mean instead of every fourth pixel: nothing is thrown away; an odd border counts by what there is of it.
    halved = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
    # Without normalisation features would become small from stage to stage, and drives alike for all pictures.
    return nn.Sequential(*halved, nn.Conv2d(channels, width, 1, bias=False), group_norm(width))
