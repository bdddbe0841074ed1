"""Converters: rounding to codes, integral non-linearity of every channel, and noise of every sample.

INL is the two lowest bows that vanish at both ends of the range (an end-point fit), in units of one code:
``a (3√3/2)(x − x³) + b (1 − x²)``, each bow at most 1, a and b drawn for every channel. An assumption: real INL also
has steps, and low-order bows carry most of it where elements have gradients (Maloberti, Data Converters, 2007, ch. 2).
Converters stand at the ends of the circuit: in the netlist the DAC's errors are in its source voltage, the ADC's in
nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.quantise import convert
from equilog.hardware.technology.blocks import Adc, Converter, Dac


def sample_inl(chip: Chip | Population, which: str, channels: int) -> Tensor | None:
    """Return the bows' amplitudes a, b of every channel in codes, shape ``(…, 2, channels)``; None without INL.

    Args:
        chip: the chip.
        which: "dac" or "adc".
        channels: how many.
    """
    block: Converter = getattr(chip.spec, which)
    if not block.inl_lsb:
        return None
    return float(block.inl_lsb) / 2**0.5 * chip.standard_normal(f"{which}.inl", 2, channels)


def inl(x: Tensor, bows: Tensor, bits: int) -> Tensor:
    """Return the non-linearity at `x`, shape ``(…, batch, channels)``, in units of full scale.

    `bows` are as :func:`sample_inl` draws them.
    """
    odd, even = bows[..., :1, :], bows[..., 1:, :]
    code = 1 / (2 ** (bits - 1) - 1)
    # Both bows vanish at both ends: (1 − x²) is common to them.
    return torch.addcmul(code * even, (code * 3 * 3**0.5 / 2) * odd, x) * (1 - x * x)


def digital_to_analog(drive: Tensor, block: Dac, bows: Tensor | None, reads: torch.Generator | None) -> Tensor:
    """Return the drive as played, in units of full scale: clipped, rounded, bent and noisy, in this order."""
    played = convert(drive, int(block.bits))
    if bows is not None:
        played = played + inl(played, bows, int(block.bits))
    return _noisy(played, block, reads)


def analog_to_digital(level: Tensor, block: Adc, bows: Tensor | None, reads: torch.Generator | None) -> Tensor:
    """Return levels in units of full scale as reported: noisy, bent, rounded and clipped, in this order."""
    level = _noisy(level, block, reads)
    if bows is not None:
        # Beyond its range a converter clips; the bows are only known within it.
        level = level + inl(level.clamp(-1, 1), bows, int(block.bits))
    return convert(level, int(block.bits))


def _noisy(level: Tensor, block: Converter, reads: torch.Generator | None) -> Tensor:
    if reads is None or not block.noise_volt:
        return level
    white = torch.randn(level.shape, generator=reads, dtype=level.dtype)
    return torch.add(level, white, alpha=float(block.noise_volt / block.full_scale_volt))
