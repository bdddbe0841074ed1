"""Units as strings, read by pint where it is installed; without it nothing about them is checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any


@cache
def registry() -> Any | None:
    """Return pint's registry, or None where pint is not installed (``pip install 'equilog[physics]'``)."""
    try:
        import pint  # noqa: PLC0415  (half a second that only a law with units should pay)
    except ImportError:
        return None
    return pint.UnitRegistry()


def read(unit: str, where: str) -> tuple[Mapping[str, float], float] | None:
    """Return the dimensions of a unit and what one of it is in SI base units; None without pint.

    Args:
        unit: as ``"Pa/m^2"``; empty for a number without dimension.
        where: what has it, for the error.

    Raises:
        ValueError: if pint does not know it, or it has a zero of its own as ``degC``.
    """
    units = registry()
    if units is None:
        return None
    try:
        parsed = units.parse_units(unit)
        factor = float(units.Quantity(1.0, parsed).to_base_units().magnitude)
        double = float(units.Quantity(2.0, parsed).to_base_units().magnitude)
    except Exception as error:  # pint raises AttributeError, ValueError, TokenError and others for what it cannot read
        raise ValueError(f"unit {unit!r} of {where}: {error}; expected one that pint reads, as 'Pa/m^2'") from None
    if abs(double - 2 * factor) > 1e-12 * abs(double):
        raise ValueError(f"unit {unit!r} of {where} has a zero of its own: expected a multiple of SI units, as 'K'")
    return {str(name): float(power) for name, power in parsed.dimensionality.items()}, factor


def agree(unit: str, expected: str, where: str) -> None:
    """Raise ``ValueError`` unless two units are the same, in dimension and in size; without pint all is well."""
    got, wanted = read(unit, where), read(expected, where)
    if got is None or wanted is None:
        return
    if dict(got[0]) != dict(wanted[0]):
        raise ValueError(
            f"unit {unit!r} of {where} has dimension {spelt(got[0])}: expected {spelt(wanted[0])}, as {expected!r}"
        )
    if abs(got[1] - wanted[1]) > 1e-9 * abs(wanted[1]):
        raise ValueError(f"unit {unit!r} of {where} is {got[1] / wanted[1]:.6g} of {expected!r}: expected that itself")


def spelt(dimensions: Mapping[str, float]) -> str:
    """Return dimensions as text, ``[length]^-1 [mass]``, or ``a number``."""
    return " ".join(d if p == 1 else f"{d}^{p:g}" for d, p in sorted(dimensions.items())) or "a number"
