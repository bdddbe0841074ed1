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
from equilog.hardware.effects.elementwise import elementwise
from equilog.hardware.quantise import convert, inside
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
    return _bend(x, bows, bits, False)[0]


def _bend(x: Tensor, bows: Tensor, bits: int, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """Return the non-linearity and, if wanted, its derivative."""
    code = 1 / (2 ** (bits - 1) - 1)
    odd, even = (code * 3 * 3**0.5 / 2) * bows[..., :1, :], code * bows[..., 1:, :]
    # Both bows vanish at both ends: (1 − x²) is common to them.
    line, common = torch.addcmul(even, odd, x), 1 - x * x
    bend = line * common
    return bend, torch.addcmul(odd * common, line, x, value=-2) if wanted else None


def digital_to_analog(drive: Tensor, block: Dac, bows: Tensor | None, reads: torch.Generator | None) -> Tensor:
    """Return the drive as played, in units of full scale: clipped, rounded, bent and noisy, in this order."""
    bits = int(block.bits)
    if bows is None:
        played = convert(drive, bits)
    else:
        curve = bows

        def bent(x: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
            code = convert(x, bits)
            bend, rises = _bend(code, curve, bits, wanted)
            return code + bend, None if rises is None else inside(rises + 1, x)

        played = elementwise(bent, drive, bows)
    return played if (white := _noise(played, block, reads)) is None else played + white


def analog_to_digital(
    level: Tensor, block: Adc, bows: Tensor | None, reads: torch.Generator | None, full_scale: float = 1.0
) -> Tensor:
    """Return levels in units of full scale as reported: noisy, bent, rounded and clipped, in this order.

    Args:
        level: shape ``(…, batch, channels)``.
        block: the converter.
        bows: from :func:`sample_inl`.
        reads: where noise is drawn from; none is added without.
        full_scale: level that is the largest code; what is returned is in the unit of `level` too.
    """
    bits = int(block.bits)
    white = _noise(level, block, reads)
    if bows is None and white is None:
        return convert(level, bits, full_scale)

    full_scale = float(full_scale)

    def reported(x: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        if white is not None:
            x = torch.add(white, x, alpha=1 / full_scale)
        elif full_scale != 1:
            x = x / full_scale
        slope = None
        if bows is not None:
            # Beyond its range a converter clips; the bows are only known within it.
            bend, rises = _bend(x.clamp(-1, 1), bows, bits, wanted)
            slope = None if rises is None else inside(rises, x) + 1
            x = x + bend
        if wanted:
            slope = inside(torch.ones_like(x) if slope is None else slope, x)
        code = convert(x, bits)
        return code if full_scale == 1 else code * full_scale, slope

    return elementwise(reported, level, bows)


def _noise(level: Tensor, block: Converter, reads: torch.Generator | None) -> Tensor | None:
    if reads is None or not block.noise_volt:
        return None
    white = torch.randn(level.shape, generator=reads, dtype=level.dtype)
    return white.mul_(float(block.noise_volt / block.full_scale_volt))
