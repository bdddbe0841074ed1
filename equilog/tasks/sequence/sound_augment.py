"""Spectrograms varied: shifted in time and frequency, noisy, and with parts masked (Park et al., Interspeech 2019)."""

from __future__ import annotations

import torch
from torch import Tensor


def shifted(x: Tensor, generator: torch.Generator, *, frames: int, bands: int) -> Tensor:
    """Shift every spectrogram of ``(batch, bands, frames)`` by whole frames and bands; borders are repeated.

    A shift along a scale of mels is about what another length of the vocal tract does.

    Args:
        x: spectrograms.
        generator: source of randomness.
        frames, bands: largest shift either way.
    """
    count, height, width = x.shape
    down = torch.randint(-bands, bands + 1, (count, 1), generator=generator)
    right = torch.randint(-frames, frames + 1, (count, 1), generator=generator)
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return x[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def stretched(x: Tensor, generator: torch.Generator, *, share: float) -> Tensor:
    """Cut a random share of the frames off both ends of every spectrogram and stretch what is left over all frames.

    Args:
        x: spectrograms ``(batch, bands, frames)``.
        generator: source of randomness.
        share: largest that is cut off at each end, of all frames.
    """
    count, _, width = x.shape
    cut = share * torch.rand(2, count, 1, generator=generator)
    at = (cut[0] + (1 - cut.sum(0)) * torch.linspace(0, 1, width)) * (width - 1)
    low = at.floor().clamp(max=width - 2)
    part = (at - low).to(x.dtype)[:, None, :]
    index = low.long()[:, None, :].expand_as(x)
    return x.gather(2, index) * (1 - part) + x.gather(2, index + 1) * part


def masked(x: Tensor, generator: torch.Generator, *, frames: int, bands: int) -> Tensor:
    """Set some neighbouring bands and some neighbouring frames of every spectrogram to its mean, 0.

    Args:
        x: standardised spectrograms ``(batch, bands, frames)``.
        generator: source of randomness.
        frames, bands: most that are masked; from none of them on.
    """
    count, height, width = x.shape
    for dim, most in ((1, bands), (2, frames)):
        size = (height, width)[dim - 1]
        length = torch.randint(0, most + 1, (count, 1), generator=generator)
        start = (torch.rand(count, 1, generator=generator) * (size - length + 1)).long()
        at = torch.arange(size)
        gone = (at >= start) & (at < start + length)
        x = x.masked_fill(gone[:, :, None] if dim == 1 else gone[:, None, :], 0.0)
    return x


def noisy(x: Tensor, generator: torch.Generator, *, deviation: float) -> Tensor:
    """Add Gaussian noise to standardised spectrograms, of another strength for each, up to `deviation`."""
    strength = deviation * torch.rand(len(x), 1, 1, generator=generator, dtype=x.dtype)
    return x + strength * torch.randn(x.shape, generator=generator, dtype=x.dtype)
