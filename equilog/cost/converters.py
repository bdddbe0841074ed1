"""Converters: what a conversion takes at the effective bits that are needed, and how many those are."""

from __future__ import annotations

import math
from functools import cache
from importlib import resources

from equilog.cost.span import Span
from equilog.hardware.technology.blocks import Converter
from equilog.hardware.technology.figure import Figure
from equilog.names import Strict, load_yaml, parse


class ConverterLaw(Strict):
    """By how much a conversion becomes dearer with every bit, below and above the bits where noise takes over."""

    corner_bits: Figure
    factor_per_bit_below: Figure
    factor_per_bit_above: Figure


@cache
def converter_law() -> ConverterLaw:
    """Return the law that ships with equilog."""
    with resources.as_file(resources.files("equilog.cost") / "converters.yaml") as path:
        return parse(ConverterLaw, load_yaml(path), "equilog's law of converters")


def conversion_joule(converter: Converter, enob: float | None = None) -> Span:
    """Return the energy of one conversion at so many effective bits.

    The technology's own figure holds for its own bits; from there on every bit multiplies it, ``E(b) = E(b₀) f^(b−b₀)``
    with one factor below and another above the corner.

    Args:
        converter: of a technology.
        enob: effective bits that are needed; the converter's own unless given.

    Raises:
        ValueError: for bits that are not above 0.
    """
    energy = Span.of(converter.energy_joule)
    if enob is None:
        return energy
    if not 0 < enob < math.inf:
        raise ValueError(f"enob = {enob}: expected a number of bits above 0")
    law, bits = converter_law(), float(converter.bits)
    corner = float(law.corner_bits)
    below = min(enob, corner) - min(bits, corner)
    above = max(enob, corner) - max(bits, corner)
    return energy * _power(law.factor_per_bit_below, below) * _power(law.factor_per_bit_above, above)


def effective_bits(error_rms: float) -> float:
    """Return the bits that an error leaves of a range from −1 to 1: ``log₂(2/(ε √12))``.

    The quantisation of a converter with b bits has the error ``2/(2^b √12)`` rms.

    Raises:
        ValueError: for an error that is not above 0.
    """
    if not 0 < error_rms < math.inf:
        raise ValueError(f"error_rms = {error_rms}: expected an error above 0")
    return math.log2(2 / (error_rms * math.sqrt(12)))


def readings(noise_rms: float, bits: float) -> int:
    """Return how many readings to average until noise is no larger than the quantisation of so many bits.

    Averaging k readings divides independent noise by √k: ``k = ⌈(σ/(2/(2^b √12)))²⌉``, at least 1.
    """
    quantisation = 2 / (2**bits * math.sqrt(12))
    return max(1, math.ceil((noise_rms / quantisation) ** 2 * (1 - 1e-12)))


def _power(factor: Figure, exponent: float) -> Span:
    low, typical, high = (f**exponent for f in factor.bounds())
    return Span(low=min(low, high), typical=typical, high=max(low, high))
