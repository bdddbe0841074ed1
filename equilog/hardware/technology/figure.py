"""A number that knows where it comes from: a float with unit-free value, source and range."""

from __future__ import annotations

import math
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

UNSOURCED = "not given"


class Figure(float):
    """A float with provenance. It computes like the float it is; arithmetic returns plain floats.

    In YAML either a plain number or a mapping ``{value, source, low, high, valid}``.

    Attributes:
        source: publication, data sheet or "assumption: …"; "not given" for a plain number.
        low, high: the range over which published or plausible values spread; None where unknown.
        valid: the conditions under which the number holds.
    """

    source: str
    low: float | None
    high: float | None
    valid: str

    def __new__(
        cls,
        value: float,
        source: str = UNSOURCED,
        low: float | None = None,
        high: float | None = None,
        valid: str = "",
    ) -> Figure:
        """Make a figure; raises ``ValueError`` unless ``low ≤ value ≤ high``."""
        self = super().__new__(cls, value)
        if (low is not None and low > value) or (high is not None and high < value):
            raise ValueError(f"value {value} lies outside its own range low = {low} … high = {high}")
        self.source, self.valid = source.strip() or UNSOURCED, valid.strip()
        self.low, self.high = low, high
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Let copies and pickles keep the provenance."""
        return float(self), self.source, self.low, self.high, self.valid

    def bounds(self) -> tuple[float, float, float]:
        """Return ``(low, typical, high)``, the value standing in for a missing bound."""
        value = float(self)
        return (
            value if self.low is None else self.low,
            value,
            value if self.high is None else self.high,
        )

    def to_data(self) -> float | dict[str, Any]:
        """Return what YAML should hold: a mapping, or the bare number if nothing else is known."""
        extra = {"source": self.source, "low": self.low, "high": self.high, "valid": self.valid}
        known = {k: v for k, v in extra.items() if v not in (None, "", UNSOURCED)}
        return {"value": float(self), **known} if known else float(self)

    @classmethod
    def _parse(cls, raw: Any) -> Figure:
        if isinstance(raw, Figure):
            return raw
        if isinstance(raw, dict):
            unknown = set(raw) - {"value", "source", "low", "high", "valid"}
            if unknown or "value" not in raw:
                raise ValueError(
                    "a figure is a number or a mapping with value, source, low, high, valid; "
                    f"got {', '.join(map(str, raw)) or 'nothing'}"
                )
            bounds = {k: None if raw.get(k) is None else _number(raw[k]) for k in ("low", "high")}
            source, valid = str(raw.get("source") or ""), str(raw.get("valid") or "")
            return cls(_number(raw["value"]), source, bounds["low"], bounds["high"], valid)
        return cls(_number(raw))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validate from a number or mapping; serialise back to the same."""
        return core_schema.no_info_plain_validator_function(
            cls._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda f: f.to_data()),
        )


def _number(raw: Any) -> float:
    # YAML 1.1 reads 1e-6 (no dot) as a string; people write it all the time.
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise ValueError(f"{raw!r} is not a number")
    try:
        number = float(raw)
    except ValueError:
        raise ValueError(f"{raw!r} is not a number") from None
    except OverflowError:
        raise ValueError("the number is too large for a float") from None
    if not math.isfinite(number):
        raise ValueError(f"{raw!r} is not a finite number")
    return number
