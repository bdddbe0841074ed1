"""What image tasks share: a small convolutional parameterization and affine augmentation."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def conv_parameterization(size: int, channels: int, drives: int) -> nn.Sequential:
    """Return two convolutions and a linear map from ``(batch, 1, size, size)`` to drives in (−1, 1)."""
    half = (size + 1) // 2
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(channels * half * half, drives),
        nn.Tanh(),
    )


def random_affine(
    x: Tensor, generator: torch.Generator, *, degrees: float, scale: float, shift: float, flip: bool = False
) -> Tensor:
    """Rotate, scale and shift every image of ``(batch, channels, h, w)`` on its own, uniformly at random.

    Args:
        x: images.
        generator: source of randomness.
        degrees: largest rotation either way.
        scale: largest relative change of size.
        shift: largest shift, as a fraction of the image.
        flip: also mirror left and right, every other image on average.
    """
    draw = torch.rand(5, len(x), generator=generator, dtype=x.dtype) * 2 - 1
    angle = draw[0] * math.radians(degrees)
    size = 1 + draw[1] * scale
    mirror = torch.where(draw[4] > 0, 1.0, -1.0) if flip else torch.ones_like(size)
    theta = x.new_zeros(len(x), 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * size * angle.cos(), -size * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * size * angle.sin(), size * angle.cos()
    theta[:, :, 2] = 2 * shift * draw[2:4].T
    grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, align_corners=False)


def crop_and_flip(x: Tensor, generator: torch.Generator, *, pad: int) -> Tensor:
    """Shift every image of ``(batch, channels, h, w)`` by whole pixels up to `pad` either way, and mirror every other.

    What comes in from outside is zero.

    Args:
        x: images.
        generator: source of randomness.
        pad: largest shift, pixels.
    """
    count, _, height, width = x.shape
    down, right = torch.randint(2 * pad + 1, (2, count, 1), generator=generator)
    mirror = coins(count, generator)[:, None]
    rows, columns = down + torch.arange(height), torch.arange(width).expand(count, width)
    columns = right + torch.where(mirror, columns.flip(1), columns)
    # Channels last: then every pixel that is gathered is one piece of memory.
    wide = nn.functional.pad(x, (pad,) * 4).permute(0, 2, 3, 1)
    which = torch.arange(count)[:, None, None]
    return wide[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def zooms(count: int, generator: torch.Generator, *, factor: float, shift: float) -> Tensor:
    """Return how many pictures are to be looked at anew, ``(count, 3)``: size over size before, and shifts.

    Args:
        count: of pictures.
        generator: source of randomness.
        factor: largest change of size either way, evenly in the logarithm.
        shift: largest shift to the right and down, in units of the picture.
    """
    draw = torch.rand(count, 3, generator=generator) * 2 - 1
    return torch.cat([(math.log(factor) * draw[:, :1]).exp(), shift * draw[:, 1:]], dim=1)


def zoomed(x: Tensor, zoom: Tensor, mode: str = "bilinear") -> Tensor:
    """Return pictures ``(batch, channels, h, w)`` made larger about their centre, then shifted; borders go on outside.

    Args:
        x: pictures.
        zoom: as :func:`zooms` draws.
        mode: "bilinear", or "nearest" for classes.
    """
    theta = x.new_zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom[:, 0]
    theta[:, :, 2] = -2 * zoom[:, 1:] / zoom[:, :1]
    grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)


def coins(count: int, generator: torch.Generator) -> Tensor:
    """Return so many fair draws of True or False."""
    return torch.rand(count, generator=generator) < 0.5


def mirrored(x: Tensor, which: Tensor, dim: int) -> Tensor:
    """Return a batch with those samples of it reversed along `dim` that `which`, ``(batch,)``, says."""
    return torch.where(which.view(-1, *[1] * (x.ndim - 1)), x.flip(dim), x)


def unit_range(images: NDArray[np.uint8]) -> Tensor:
    """Return images as float32 in [0, 1]."""
    return torch.from_numpy(images.astype(np.float32)).div_(255)


def random_light(x: Tensor, generator: torch.Generator, *, brightness: float, contrast: float) -> Tensor:
    """Change light and contrast of every image of ``(batch, channels, h, w)`` in [0, 1], uniformly at random.

    Args:
        x: images.
        generator: source of randomness.
        brightness: largest number added, either way.
        contrast: largest relative change of distances from the image's mean.
    """
    draw = (torch.rand(2, len(x), 1, 1, 1, generator=generator, dtype=x.dtype) * 2 - 1).unbind()
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + (x - mean) * (1 + contrast * draw[1]) + brightness * draw[0]).clamp(0, 1)
