"""Numbers as people read them: 81.2 ns, 353 nJ, 5.3 × 10⁻¹¹, 97.9 %."""

from __future__ import annotations

import math

from equilog.objective import Scored

MISSING = "—"
# Between number and unit: a line never breaks there.
NBSP = "\u00a0"
_PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# How the keys of a technology name their units; the first that fits.
_SUFFIXES = {
    "volt_per_second": "V/s",
    "volt_per_rthz": "V/√Hz",
    "per_kelvin": "1/K",
    "kelvin": "K",
    "siemens": "S",
    "hertz": "Hz",
    "volt": "V",
    "farad": "F",
    "second": "s",
    "joule": "J",
    "ampere": "A",
    "ohm": "Ω",
    "watt": "W",
    "over_id": "1/V",
}


def engineering(value: float | None, unit: str = "", *, digits: int = 3, trim: bool = False) -> str:
    """Return `value` with an SI prefix and its unit; `trim` drops trailing zeros of exact numbers."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return ("−" if value < 0 else "") + "∞"
    number, prefix = _scaled(value, digits)
    decimals = max(0, digits - 1 - _decade(number))
    text = f"{number:.{decimals}f}"
    if trim and "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text}{NBSP}{prefix}{unit}".replace("-", "−").rstrip()


def axis_unit(largest: float, unit: str) -> tuple[float, str]:
    """Return the factor and the prefixed unit with which an axis up to `largest` reads well."""
    if not (math.isfinite(largest) and largest > 0):
        return 1.0, unit
    power = _power(_decade(largest))
    return 10.0**-power, _PREFIXES[power] + unit


def scientific(value: float | None, digits: int = 2) -> str:
    """Return ``5.3 × 10⁻¹¹``; whole powers of ten without their factor, and 0.01 to 99 as people write them."""
    if value is None or math.isnan(value):
        return MISSING
    if value == 0 or math.isinf(value):
        return "0" if value == 0 else "∞"
    if 0.01 <= abs(value) < 99.5:
        decimals = max(0, digits - 1 - _decade(float(f"{value:.{digits - 1}e}")))
        return f"{value:.{decimals}f}".replace("-", "−")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    if float(mantissa) == 1:
        return power
    return f"{mantissa}{NBSP}×{NBSP}{power}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as ``97.9 %``."""
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.{digits}f}{NBSP}%"


def score_text(scored: Scored, value: float | None, digits: int = 1) -> str:
    """Return a score as people read it.

    A fraction of right samples has `digits` decimals of a percent; any other score three digits, which an error of
    any size needs, in percent or in its unit; a plain number, whose unit is "", has no prefix.
    """
    if scored.hits:
        return percent(value, digits)
    if value is None or math.isnan(value):
        return MISSING
    if scored.score_unit == "":
        return scientific(value, 3)
    if scored.score_unit is not None:
        return engineering(value, scored.score_unit)
    return f"{100 * value:.3g}".replace("-", "−") + f"{NBSP}%" if abs(value) >= 1e-6 else scientific(value, 3)


def score_axis(scored: Scored, largest: float) -> tuple[float, str]:
    """Return the factor and the unit with which an axis of scores up to `largest` reads well."""
    if scored.score_unit == "":
        return 1.0, ""
    return (100.0, "%") if scored.score_unit is None else axis_unit(largest, scored.score_unit)


def count(number: int, noun: str) -> str:
    """Return ``1 sample``, ``20 samples``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plain(value: float) -> str:
    """Return a number without unit as short as it is exact enough: 10,000, 0.02, 32."""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-3:
        return scientific(value)
    return f"{value:.4g}".replace("-", "−")


def area(square_metre: float) -> str:
    """Return an area in mm², or in µm² below 0.01 mm², with two digits: that is how well it is known."""
    small = square_metre < 0.995e-8
    rounded = float(f"{square_metre * (1e12 if small else 1e6):.1e}")
    decimals = max(0, 1 - _decade(rounded))
    return f"{rounded:,.{decimals}f}{NBSP}{'µm²' if small else 'mm²'}"


def figure_text(key: str, value: float) -> str:
    """Return a technology's number with the unit that its key names."""
    for suffix, unit in _SUFFIXES.items():
        if key.endswith((f"_{suffix}", f".{suffix}")):
            return f"{plain(value)}{NBSP}{unit}" if unit.startswith("1/") else engineering(value, unit, trim=True)
    return plain(value)


def _decade(value: float) -> int:
    return 0 if value == 0 else math.floor(math.log10(abs(value)) + 1e-12)


def _power(decade: int) -> int:
    return min(max(3 * (decade // 3), -18), 12)


def _scaled(value: float, digits: int) -> tuple[float, str]:
    # Rounded first: 999.6 ns is 1.00 µs.
    rounded = float(f"{value:.{digits - 1}e}")
    power = _power(_decade(rounded))
    return rounded / 10.0**power, _PREFIXES[power]
