"""Times and temperatures as people type them: 90, 1h, 30d; 350, 350K, 77C."""

from __future__ import annotations

import math
import re

from equilog.names import UserError

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31557600.0}
_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"


def seconds_of(text: str, option: str) -> float:
    """Return a time in seconds from a number with or without a suffix s, min, h, d, w or y.

    Raises:
        UserError: for anything else, or a time that is not above 0.
    """
    found = re.fullmatch(rf"{_NUMBER}\s*({'|'.join(_SECONDS)})?", text.strip())
    value = math.nan if found is None else float(found[1]) * _SECONDS[found[2] or "s"]
    if not 0 < value < math.inf:
        raise UserError(
            f"{option} {text}: expected a time above 0 in seconds, or with a suffix: 90, 15min, 1h, 30d, 1y"
        )
    return value


def kelvin_of(text: str, option: str) -> float:
    """Return a temperature in kelvin from a number of kelvin, or with a suffix K or C.

    Raises:
        UserError: for anything else, or a temperature that is not above absolute zero.
    """
    found = re.fullmatch(rf"{_NUMBER}\s*(K|C|°C)?", text.strip())
    value = math.nan if found is None else float(found[1]) + (0.0 if found[2] in (None, "K") else 273.15)
    if not 0 < value < math.inf:
        raise UserError(
            f"{option} {text}: expected a temperature above 0 K, in kelvin or with a suffix: 350, 350K, 77C"
        )
    return value


def time_text(second: float) -> str:
    """Return a time as short as it can be typed: ``30d``, ``1h``, ``90s``."""
    for suffix in ("y", "d", "h", "min"):
        if second >= _SECONDS[suffix] and second % _SECONDS[suffix] == 0:
            return f"{second / _SECONDS[suffix]:.15g}{suffix}"
    return f"{second:.15g}s"
